"""Status snapshots of a pool and its replicas."""

from __future__ import annotations

from dataclasses import dataclass

from silkline.core import Health
from silkline.routing.replica import ReplicaState


@dataclass(frozen=True, slots=True)
class ReplicaHealth:
    """The status of one replica.

    Attributes:
        name: Its name in metrics.
        state: The state of its life cycle.
        ready: Whether it serves and made progress recently.
        ejected: Whether it is ejected because it does worse than the others.
        weight: Its share of the requests, relative to the other weights.
        limit: Maximum requests in flight that it gets.
        in_flight: Requests that the pool sent to it and that have not ended.
        requests: Requests that the pool sent to it so far, retries included.
        errors: Lost calls and invalid answers so far; a worker that ends counts once.
        restarts: How often its worker was replaced.
        pid: The worker's process id; None while there is no local process.
        rss_bytes: The worker's resident memory; None while there is no local process.
        engine: The engine's last known health; None while that is not known.
        certificate_expiry: Unix time at which the TLS certificate of a remote server expires; None
            if that is unknown.
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
    certificate_expiry: float | None = None


@dataclass(frozen=True, slots=True)
class PoolHealth:
    """The status of the pool.

    Attributes:
        in_flight: Requests that are being answered, including those that wait for a replica.
        waiting: How many of them wait for a replica.
        retries: Retries so far.
        quarantines: Requests that were quarantined so far.
        replicas: The status of each replica.
    """

    in_flight: int
    waiting: int
    retries: int
    quarantines: int
    replicas: tuple[ReplicaHealth, ...]
