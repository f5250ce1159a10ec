"""What a request holds while it is in the admission's hands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto

from silkline.admission.cost import Price, Size
from silkline.admission.counts import Refusal
from silkline.admission.tenant import Tenant
from silkline.core import EngineInfo, PixelBudget, Timeline, Usage

AIM = 0.8
"""The part of the allowed time in which an answer must be predicted, for its request to be let in.

What waits and what is computed later takes longer than predicted as often as shorter; without a
reserve half of the answers of a full queue would be late.
"""

VAIN = 1.2
"""The multiple of the allowed time after which an answer is no longer worth its turn.

What was let in was thought to be in time, so it is answered even if that turns out to be wrong by a
little; beyond this it only makes those late that come after it.
"""

MIN_PATIENCE = 0.25
"""The part of the allowed time that a request may wait even if its answer takes all of it."""


class Phase(Enum):
    """How far a request is on its way to the engines."""

    PREPARED = auto()
    """It is fetched, decoded, looked up: it may still need a turn."""
    SPARED = auto()
    """It needs no turn: the cache, or another's computation, answers it."""
    WAITING = auto()
    """It waits for its turn."""
    RUNNING = auto()
    """It has its turn."""
    OVER = auto()
    """It is over, or has been refused."""


@dataclass(eq=False, slots=True)
class Ticket:
    """A request that was let in at the door.

    Attributes:
        tenant: Who asks.
        size: What is asked.
        info: Of the engine that is asked.
        price: What that is expected to cost.
        pixel_budget: How large its pictures may be under the present load.
        pixel_share: The part of the engine's own pixel budget that this is, above 0 to 1.
        started: When its head came, by the clock.
        due: When its answer should be whole.
        expires: When its own time is over; `due` is never later.
        looks: Why it was let in only to ask the cache; None where it may go on to the engines.
        phase: How far it is.
        charged: Tokens that its tenant was charged.
        expected: The work that is counted while it may still come to wait.
        begun: When it got its turn, by the integral over time of how many had theirs.
    """

    tenant: Tenant
    size: Size
    info: EngineInfo
    price: Price
    pixel_budget: PixelBudget
    pixel_share: float
    started: float
    due: float
    expires: float
    looks: Refusal | None
    _spare: Callable[[Ticket], None] = field(repr=False)
    phase: Phase = Phase.PREPARED
    charged: int = 0
    expected: float = 0.0
    begun: float = 0.0

    @property
    def tokens(self) -> int:
        """The estimate that was charged to the tenant's tokens a minute."""
        return self.price.tokens

    def needs_no_turn(self) -> None:
        """Tells that the cache, or another's computation, answers; calling it again does nothing.

        The request no longer counts as one that will wait, and its tokens are given back.
        """
        self._spare(self)

    def latest_start(self, service_seconds: float, part: float) -> float:
        """When its turn must have come, for its answer to be whole in that part of its time.

        Args:
            service_seconds: What its answer is expected to take from there.
            part: Of the time from its start until it is due.
        """
        allowed = self.due - self.started
        patience = max(part * allowed - service_seconds, MIN_PATIENCE * allowed)
        return self.started + patience


@dataclass(slots=True)
class Turn:
    """A place in the engines.

    Attributes:
        waited: Seconds that the request waited for it.
    """

    waited: float
    _answered: Callable[[Usage, Timeline], None] = field(repr=False)

    def answered(self, usage: Usage, timeline: Timeline) -> None:
        """Tells what the answer has really cost, when it is whole."""
        self._answered(usage, timeline)
