"""The replicas of a pool, with the pool's own records about them."""

from __future__ import annotations

from dataclasses import dataclass, field

from silkline.engines.base import Engine
from silkline.routing.choice import Reason
from silkline.routing.ejection import ReplicaRecord
from silkline.routing.replica import Replica
from silkline.stores.memory import Counter, PrivateMemory


@dataclass(slots=True, eq=False)
class Member:
    """A replica of the pool, with the pool's own records about it.

    Attributes:
        replica: The replica.
        record: Its errors, latencies and ejections.
        slots: Counts the requests that have a slot on it.
        requests: Requests that were sent to it so far, retries included.
    """

    replica: Replica
    record: ReplicaRecord = field(default_factory=ReplicaRecord)
    slots: Counter = field(default_factory=lambda: PrivateMemory().counter(0))
    requests: int = 0

    @property
    def name(self) -> str:
        """The replica's name."""
        return self.replica.name

    @property
    def in_flight(self) -> int:
        """Requests that have a slot on it, those of other gateway processes included."""
        return self.slots.total

    @property
    def weight(self) -> float:
        """The replica's weight."""
        return self.replica.weight

    @property
    def full(self) -> bool:
        """Whether it has as many requests in flight as its limit allows."""
        return self.in_flight >= self.replica.limit

    @property
    def ready(self) -> bool:
        """Whether requests can be sent to it."""
        return self.replica.ready


@dataclass(slots=True, eq=False)
class Slot:
    """Room for one request on a replica.

    Attributes:
        member: The replica.
        engine: The replica's engine when the slot was taken.
        reason: Why this replica; `TRIAL` decides whether it is restored after its ejection.
        life: The replica's life when the slot was taken, see `Replica.life`.
    """

    member: Member
    engine: Engine
    reason: Reason
    life: str | None

    @property
    def trial(self) -> bool:
        """Whether this request decides if the replica is restored after its ejection."""
        return self.reason is Reason.TRIAL
