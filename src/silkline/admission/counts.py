"""How many were let in and how many were refused, by tenant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

MAX_NAMES = 200
"""Tenants that are counted by name: the first that come. Further ones are counted together.

It bounds the series that a scrape of the metrics reads. They are the first, not the busiest,
because a counter that changed its name would seem to start anew."""

OTHERS = "(others)"


class Refusal(StrEnum):
    """Why a request was refused."""

    REQUESTS = "requests_per_minute"
    """The tenant asked more often than it may."""
    TOKENS = "tokens_per_minute"
    """The tenant asked for more tokens than it may."""
    QUEUE_FULL = "queue_full"
    """Too many requests wait, and more of this tenant than of others."""
    TOO_LATE = "too_late"
    """It would not have been answered in time; refused before it waited."""
    SHED = "shed"
    """While it waited, it became clear that it would not be answered in time."""
    EXPIRED = "expired"
    """Its own time was over while it waited."""


@dataclass(frozen=True, slots=True)
class TenantCounts:
    """What became of a tenant's requests, since the start.

    Attributes:
        admitted: Let in at the door; some of them may have been refused later, in the queue.
        refused: Refused at the door or in the queue, by reason.
    """

    admitted: int
    refused: Mapping[Refusal, int]


class AdmissionCounts:
    """Counts."""

    def __init__(self) -> None:
        self._admitted: Counter[str] = Counter()
        self._refused: dict[str, Counter[Refusal]] = {}

    def admitted(self, tenant: str) -> None:
        """Counts one that was let in."""
        self._admitted[self._name(tenant)] += 1

    def refused(self, tenant: str, reason: Refusal) -> None:
        """Counts one that was refused."""
        self._refused[self._name(tenant)][reason] += 1

    def counts(self) -> dict[str, TenantCounts]:
        """The counts by tenant."""
        return {
            name: TenantCounts(self._admitted[name], dict(refused))
            for name, refused in self._refused.items()
        }

    def _name(self, tenant: str) -> str:
        known = tenant in self._refused or len(self._refused) < MAX_NAMES
        name = tenant if known else OTHERS
        self._refused.setdefault(name, Counter())
        return name
