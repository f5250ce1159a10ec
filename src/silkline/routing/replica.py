"""What the pool needs of a replica: something that computes answers, here or far away."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Coroutine
from enum import StrEnum

from silkline.core import EngineInfo, Health
from silkline.engines.base import Engine


class ReplicaState(StrEnum):
    """Where a replica is in its life."""

    STARTING = "starting"
    """It has not served yet."""
    SERVING = "serving"
    """Requests can be sent to it."""
    LOST = "lost"
    """It served once, and is being replaced or looked for."""
    STOPPED = "stopped"
    """It has not been started, or was closed."""


class Replica(ABC):
    """One of the places where a pool's requests are answered.

    It brings itself back: the pool only starts and closes it. All is used from one event loop.
    Whatever `engine.generate` raises decides what the pool does:

    - `WorkerLost`: the call was lost on the way, or its engine's process ended, or the far server
      answered 5xx (but 503 for overload). Counts against the replica. Tried again elsewhere, while
      nothing was given out.
    - `EngineFailed`: the engine failed at this request, and goes on with others. The same, but
      nothing else is lost with it, also where the replica falls as one.
    - `InternalFault`: what came makes no sense. Counts against the replica; not tried again.
    - `Overloaded`, `RateLimited`, `DeadlineExceeded`, any `InputError`: the request's own
      business. Does not count, and is not tried again.
    """

    def __init__(self, name: str, *, weight: float, limit: int) -> None:
        """Describes the replica; nothing runs before `start`.

        Args:
            name: What metrics and logs call it; unique in its pool, no address.
            weight: Its share of the requests relative to the others' weights, above 0.
            limit: Most requests that the pool gives to it at a time, at least 1.
        """
        self.name = name
        self.weight = weight
        self.limit = limit

    @property
    @abstractmethod
    def state(self) -> ReplicaState:
        """Where it is in its life."""

    @property
    @abstractmethod
    def ready(self) -> bool:
        """Whether it serves and made progress lately: the pool gives requests to it."""

    @property
    @abstractmethod
    def engine(self) -> Engine | None:
        """What answers now; None while nothing does. Another object once it was replaced."""

    @property
    @abstractmethod
    def info(self) -> EngineInfo | None:
        """What the engine is; kept while it is lost, None before it first served."""

    @property
    def pid(self) -> int | None:
        """The process id of its worker; None where there is none on this machine."""
        return None

    @property
    def rss_bytes(self) -> int | None:
        """Resident memory of its worker, in bytes; None where there is none on this machine."""
        return None

    @property
    def restarts(self) -> int:
        """How often it was replaced by this pool."""
        return 0

    @property
    def start_seconds(self) -> float:
        """How long it takes to come back, as far as is known, in seconds."""
        return 0.0

    @property
    def falls_as_one(self) -> bool:
        """Whether one call's `WorkerLost` means that the engine is gone, with all its calls.

        True of a process of ours: then the requests that it held are suspects (see `quarantine`)
        and the replica is told by `condemn`. False where a call can be lost alone.
        """
        return False

    @abstractmethod
    def health(self) -> Health | None:
        """The engine's last known health, never waiting; None while it is not known."""

    @abstractmethod
    def condemn(self, engine: Engine) -> None:
        """Takes the word of the pool that `engine` lost a call; one that is not current is past."""

    @abstractmethod
    def changed(self) -> Coroutine[None, None, object]:
        """Something to wait for: ends with the next change of `ready` or `engine`, or earlier.

        What changes between the call and the waiting counts. It may end without a change.
        """

    @abstractmethod
    async def start(self) -> None:
        """Starts it, and returns when it serves or, if it is far away, looks for its server.

        Raises:
            ConfigError: It is described wrongly.
            EnvironmentFault: Something is missing on this machine.
            WorkerLost: Its worker ended before it served, or took too long.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Ends it; calls that still run end with `WorkerLost`. Closing twice is as once."""
