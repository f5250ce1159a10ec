"""The ticket that admission gives to each request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto

from silkline.admission.cost import Price, Size
from silkline.admission.counts import Refusal
from silkline.admission.tenant import Tenant
from silkline.core import EngineInfo, PixelBudget, Timeline, Usage

ADMIT_FACTOR = 0.8
"""A request is admitted if its answer is predicted within this share of the allowed time.

Waiting and computing take longer than predicted as often as shorter; without a reserve, half of the
answers of a full queue would be late.
"""

SHED_FACTOR = 1.2
"""A waiting request is shed if its answer is predicted after this multiple of the allowed time.

It was admitted because it was predicted to be in time, so it is answered even if it is a little
late. Beyond this factor it would only make later requests late.
"""

MIN_PATIENCE = 0.25
"""The share of the allowed time that a request may wait even if its answer takes all of it."""


class Phase(Enum):
    """The stages of an admitted request."""

    PREPARED = auto()
    """Its images are fetched and decoded, the cache is read: it may still need a turn."""
    NO_TURN = auto()
    """It needs no turn: the cache, or the computation of another request, answers it."""
    WAITING = auto()
    """It waits for its turn."""
    RUNNING = auto()
    """It has its turn."""
    OVER = auto()
    """It has ended, or was refused."""


@dataclass(eq=False, slots=True)
class TicketGroup:
    """The tickets of one request: each of its answers has its own, and waits for its own turn.

    The request is admitted as a whole, with its first ticket, and is counted once.

    Attributes:
        answers: Number of answers, at least 1.
        first: The first ticket; None until the request is admitted.
        queued: Whether it found the queue full on arrival, and may be queued now.
        refused: Whether the request was refused.
    """

    answers: int = 1
    first: Ticket | None = None
    queued: bool = False
    refused: bool = False


@dataclass(eq=False, slots=True)
class Ticket:
    """A request that was admitted, or one of its answers if there are several.

    Attributes:
        group: The tickets of the request.
        tenant: The tenant of the request.
        size: The size of the request.
        info: The engine's description.
        price: The expected cost.
        pixel_budget: Maximum size of its images under the current load.
        pixel_share: This budget as a share of the engine's own, above 0 and at most 1.
        started: When its head arrived, by the clock.
        due: When its answer should be complete.
        expires: When its timeout ends; `due` is never later.
        cache_only_reason: Why it may only read the cache; None if it may go on to the engines.
        phase: Its stage.
        charged: Tokens that its tenant was charged.
        expected: The work that is counted while it may still need a turn.
        begun: When its turn began, as the integral over time of the number of taken slots.
    """

    group: TicketGroup
    tenant: Tenant
    size: Size
    info: EngineInfo
    price: Price
    pixel_budget: PixelBudget
    pixel_share: float
    started: float
    due: float
    expires: float
    cache_only_reason: Refusal | None
    _no_turn: Callable[[Ticket], None] = field(repr=False)
    phase: Phase = Phase.PREPARED
    charged: int = 0
    expected: float = 0.0
    begun: float = 0.0

    @property
    def tokens(self) -> int:
        """The estimate that counts against the tenant's tokens per minute."""
        return self.price.tokens

    def needs_no_turn(self) -> None:
        """Reports that the cache, or another request's computation, answers it; idempotent.

        The request is no longer expected to need a turn, and its tokens are refunded.
        """
        self._no_turn(self)

    def latest_start(self, service_seconds: float, factor: float) -> float:
        """The latest start of its turn for an answer within `factor` times the allowed time.

        Args:
            service_seconds: Expected time from the start of the turn to the complete answer.
            factor: Of the time from `started` to `due`.
        """
        allowed = self.due - self.started
        patience = max(factor * allowed - service_seconds, MIN_PATIENCE * allowed)
        return self.started + patience


@dataclass(slots=True)
class Turn:
    """A request's slot in the engines.

    Attributes:
        waited: Seconds that the request waited for it.
    """

    waited: float
    _answered: Callable[[Usage, Timeline], None] = field(repr=False)

    def answered(self, usage: Usage, timeline: Timeline) -> None:
        """Reports the actual cost of the complete answer."""
        self._answered(usage, timeline)
