"""Counts of admitted and refused requests, by tenant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

MAX_NAMES = 200
"""Maximum tenants that are counted by name: the first ones. All others are counted together.

This bounds the number of time series of the metrics. It is the first tenants, not the busiest,
because a counter that changed its label would seem to restart from 0."""

OTHERS = "(others)"


class Refusal(StrEnum):
    """Why a request was refused."""

    REQUESTS = "requests_per_minute"
    """The tenant has reached its limit of requests per minute."""
    TOKENS = "tokens_per_minute"
    """The tenant has reached its limit of tokens per minute."""
    QUEUE_FULL = "queue_full"
    """Too many requests wait, and more of this tenant than of others."""
    TOO_LATE = "too_late"
    """It would not be answered in time; refused before it waited."""
    SHED = "shed"
    """While it waited, it became clear that it would not be answered in time."""
    EXPIRED = "expired"
    """Its timeout ended while it waited."""


@dataclass(frozen=True, slots=True)
class TenantCounts:
    """A tenant's admitted and refused requests since the start.

    Attributes:
        admitted: Admitted on arrival; some of them may have been refused later, in the queue.
        refused: Refused on arrival or in the queue, by reason.
    """

    admitted: int
    refused: Mapping[Refusal, int]


class AdmissionCounts:
    """Counts admitted and refused requests by tenant."""

    def __init__(self) -> None:
        self._admitted: Counter[str] = Counter()
        self._refused: dict[str, Counter[Refusal]] = {}

    def admitted(self, tenant: str) -> None:
        """Counts an admitted request."""
        self._admitted[self._name(tenant)] += 1

    def refused(self, tenant: str, reason: Refusal) -> None:
        """Counts a refused request."""
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
