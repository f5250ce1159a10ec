"""A replica in a worker process: on this machine, or on a node of Ray."""

from __future__ import annotations

from collections.abc import Coroutine

from silkline.core import EngineInfo, Health
from silkline.engines.base import Engine
from silkline.engines.worker.shared import SharedWorker
from silkline.engines.worker.status import WorkerState
from silkline.engines.worker.supervisor import WorkerSupervisor
from silkline.routing.replica import Replica, ReplicaState

_STATES = {
    WorkerState.STARTING: ReplicaState.STARTING,
    WorkerState.SERVING: ReplicaState.SERVING,
    WorkerState.RESTARTING: ReplicaState.LOST,
    WorkerState.STOPPED: ReplicaState.STOPPED,
}


class LocalReplica(Replica):
    """A worker process as a replica of a pool: one of this process, or one that it shares."""

    def __init__(
        self, name: str, worker: WorkerSupervisor | SharedWorker, *, weight: float = 1.0, limit: int
    ) -> None:
        """Takes a worker that has not started; for the other arguments see `Replica`."""
        super().__init__(name, weight=weight, limit=limit)
        self._worker = worker

    @property
    def state(self) -> ReplicaState:
        """The state of the worker's life cycle."""
        return _STATES[self._worker.state]

    @property
    def ready(self) -> bool:
        """Whether the worker serves and makes progress."""
        return self._worker.ready

    @property
    def engine(self) -> Engine | None:
        """The current worker's engine; None while none serves."""
        return self._worker.engine

    @property
    def info(self) -> EngineInfo | None:
        """The engine's description; None before the worker first served."""
        return self._worker.info

    @property
    def life(self) -> str | None:
        """The worker's socket, which is another one for each start."""
        return self._worker.socket or None

    @property
    def pid(self) -> int | None:
        """The worker's process id; None while there is no process."""
        return self._worker.pid

    @property
    def rss_bytes(self) -> int | None:
        """The worker's resident memory in bytes; None while there is no process."""
        return self._worker.rss_bytes

    @property
    def restarts(self) -> int:
        """How often the worker was replaced."""
        return self._worker.restarts

    @property
    def start_seconds(self) -> float:
        """How long the last worker took to serve, in seconds."""
        return self._worker.start_seconds

    @property
    def fails_as_a_whole(self) -> bool:
        """True: a worker that loses a call has ended, with all its calls."""
        return True

    def health(self) -> Health | None:
        """The result of the last health check; None while the worker does not serve."""
        return self._worker.health()

    def mark_failed(self, engine: Engine) -> None:
        """Replaces this engine's worker, if it is still the current one."""
        self._worker.mark_failed(engine)

    def changed(self) -> Coroutine[None, None, object]:
        """Ends with the next change of the worker's state, or the next health check."""
        return self._worker.changed()

    async def start(self) -> None:
        """Starts the worker and returns when it serves; raises what the supervisor raises."""
        await self._worker.start()

    async def aclose(self) -> None:
        """Stops the worker."""
        await self._worker.aclose()
