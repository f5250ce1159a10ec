"""The replicas of a pool, and the pool's books on them."""

from __future__ import annotations

from dataclasses import dataclass, field

from silkline.engines.base import Engine
from silkline.routing.ejection import Standing
from silkline.routing.replica import Replica


@dataclass(slots=True, eq=False)
class Member:
    """A replica of the pool, and the pool's books on it.

    Attributes:
        replica: The replica.
        standing: What is held against it.
        in_flight: Requests that have a seat at it.
        requests: Requests that were given to it so far.
    """

    replica: Replica
    standing: Standing = field(default_factory=Standing)
    in_flight: int = 0
    requests: int = 0

    @property
    def name(self) -> str:
        """The replica's name."""
        return self.replica.name

    @property
    def weight(self) -> float:
        """The replica's weight."""
        return self.replica.weight

    @property
    def full(self) -> bool:
        """Whether it has all that it takes at a time."""
        return self.in_flight >= self.replica.limit

    @property
    def ready(self) -> bool:
        """Whether requests can be given to it."""
        return self.replica.ready


@dataclass(slots=True, eq=False)
class Seat:
    """A request's right to be at a replica.

    Attributes:
        member: Where.
        engine: What answers there.
        trial: Whether this request decides if the replica comes back from its ejection.
    """

    member: Member
    engine: Engine
    trial: bool
