"""What a pool tells of itself."""

from __future__ import annotations

from dataclasses import dataclass

from silkline.core import Health
from silkline.routing.replica import ReplicaState


@dataclass(frozen=True, slots=True)
class ReplicaHealth:
    """How one replica gets on.

    Attributes:
        name: What metrics call it.
        state: Where it is in its life.
        ready: Whether it serves and made progress lately.
        ejected: Whether it is left out because others do better.
        weight: Its share relative to the others' weights.
        limit: Most requests that it gets at a time.
        in_flight: Requests that the pool gave to it and that have not ended.
        requests: Requests that the pool gave to it so far, those sent again included.
        errors: How often it lost calls or answered with nonsense; a worker that ends counts once.
        restarts: How often its worker was replaced.
        pid: The worker's process id; None while there is no process here.
        rss_bytes: The worker's resident memory; None while there is no process here.
        engine: What the engine last told of itself; None while that is not known.
    """

    name: str
    state: ReplicaState
    ready: bool
    ejected: bool
    weight: float
    limit: int
    in_flight: int
    requests: int
    errors: int
    restarts: int
    pid: int | None
    rss_bytes: int | None
    engine: Health | None


@dataclass(frozen=True, slots=True)
class PoolHealth:
    """How the pool gets on.

    Attributes:
        in_flight: Requests that are being answered, those that wait for a replica included.
        waiting: Those of them that wait for a replica.
        retries: Requests that were sent again because their call was lost, so far.
        replicas: Each replica.
    """

    in_flight: int
    waiting: int
    retries: int
    replicas: tuple[ReplicaHealth, ...]
