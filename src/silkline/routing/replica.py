"""The interface of a replica: a local worker or a remote server that computes answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Coroutine
from enum import StrEnum

from silkline.core import EngineInfo, Health
from silkline.engines.base import Engine


class ReplicaState(StrEnum):
    """The states of a replica's life cycle."""

    STARTING = "starting"
    """It starts, and has not served yet."""
    SERVING = "serving"
    """Requests can be sent to it."""
    LOST = "lost"
    """It served before, and is being replaced or probed."""
    STOPPED = "stopped"
    """It has not been started, or was closed."""


class Replica(ABC):
    """A local worker or a remote server that answers requests of a pool.

    It recovers by itself: the pool only starts and closes it. All methods are called from one event
    loop. The error that `engine.generate` raises decides what the pool does:

    - `WorkerLost`: the connection was lost, the engine's process ended, or the remote server
      answered 5xx (except 503 for overload). Counts against the replica. Retried on another
      replica, unless part of the answer was sent already.
    - `EngineFailed`: the engine failed at this request, and continues with others. Handled like
      `WorkerLost`, but no other call is lost, even if `fails_as_a_whole`.
    - `InternalFault`: the answer was invalid. Counts against the replica; not retried.
    - `Overloaded`: does not count against the replica; retried if another one has room.
    - `RateLimited`, `DeadlineExceeded`, any `InputError`: caused by the request. Does not count
      against the replica, and is not retried.
    """

    def __init__(self, name: str, *, weight: float, limit: int) -> None:
        """Describes the replica; nothing runs before `start`.

        Args:
            name: Its name in metrics and logs; unique in its pool, not an address.
            weight: Its share of the requests, relative to the other weights, above 0.
            limit: Maximum requests in flight that the pool sends to it, at least 1; may change.
        """
        self.name = name
        self.weight = weight
        self.limit = limit

    @property
    @abstractmethod
    def state(self) -> ReplicaState:
        """The state of its life cycle."""

    @property
    @abstractmethod
    def ready(self) -> bool:
        """Whether it serves and made progress recently; then the pool sends requests to it."""

    @property
    @abstractmethod
    def engine(self) -> Engine | None:
        """The current engine; None while there is none. A replacement is another object."""

    @property
    @abstractmethod
    def info(self) -> EngineInfo | None:
        """The engine's description; kept while it is lost, None before it first served."""

    @property
    def life(self) -> str | None:
        """Identifies the life of its worker in all processes that use it; None if only this one."""
        return None

    @property
    def pid(self) -> int | None:
        """The process id of its worker; None if it has none on this machine."""
        return None

    @property
    def rss_bytes(self) -> int | None:
        """Resident memory of its worker, in bytes; None if it has none on this machine."""
        return None

    @property
    def restarts(self) -> int:
        """How often this pool replaced its worker."""
        return 0

    @property
    def certificate_expiry(self) -> float | None:
        """Unix time at which its server's TLS certificate expires; None if that is unknown."""
        return None

    @property
    def start_seconds(self) -> float:
        """How long its last start took, in seconds; 0 while that is not known."""
        return 0.0

    @property
    def fails_as_a_whole(self) -> bool:
        """Whether a `WorkerLost` of one call means that the engine is gone, with all its calls.

        True for local workers: then all requests in flight on it are suspects (see `quarantine`),
        and the pool calls `mark_failed`. False if one call can be lost while others continue.
        """
        return False

    def is_full(self) -> None:  # noqa: B027 - most replicas need not know
        """Called when it has as many requests in flight as its limit; does nothing by default."""

    @abstractmethod
    def health(self) -> Health | None:
        """The engine's last known health; None while it is not known. Never waits."""

    @abstractmethod
    def mark_failed(self, engine: Engine) -> None:
        """Reports that `engine` lost a call; ignored if it is not the current engine."""

    @abstractmethod
    def changed(self) -> Coroutine[None, None, object]:
        """Waits for the next change of `ready` or `engine`; may return early, without a change.

        Changes after the call count, even if they come before the result is awaited.
        """

    @abstractmethod
    async def start(self) -> None:
        """Starts it; returns when the worker serves, or when a remote server was probed once.

        Raises:
            ConfigError: Its settings are wrong.
            EnvironmentFault: Something is missing on this machine.
            WorkerLost: Its worker ended before it served, or took too long to start.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Closes it; calls that still run end with `WorkerLost`. Idempotent."""
