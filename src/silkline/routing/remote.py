"""A server elsewhere as a replica: looked for until it is there, and whenever it is gone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence

from silkline.config import RemoteSettings
from silkline.core import EngineInfo, Health
from silkline.engines.base import Engine
from silkline.engines.remote.engine import RemoteEngine
from silkline.errors import CapacityError, WorkerLost
from silkline.routing.replica import Replica, ReplicaState

logger = logging.getLogger("silkline.remote")

PROBE_INTERVAL_SECONDS = 2.0
"""How often a server that is there is looked at."""

FIRST_RETRY_SECONDS = 0.2
LAST_RETRY_SECONDS = 5.0
"""How soon one that is not there is looked for again; the pause doubles."""

UNSEEN_SECONDS = 10.0
"""A server that showed no life for so long is not ready, whether or not its connections hold."""

DENIED_SECONDS = 30.0
"""How long a server that refused our key, path or model gets nothing."""


class AgreedModel:
    """Which model a pool serves: that of its workers, else of the first remote that was there.

    A pool answers with any of its replicas and keeps answers by the model's name. A server with
    another model, which a wrong address or a forgotten upgrade makes of it, must not take part.
    """

    def __init__(self, workers: Sequence[Replica] = ()) -> None:
        """Nothing is agreed on yet; the workers of the pool, where it has any, decide."""
        self._workers = tuple(workers)
        self._model: str | None = None

    def check(self, model: str) -> None:
        """Takes the workers' name, else the first one, and every one that is the same.

        Raises:
            WorkerLost: Another one was agreed on, or the workers are still to tell theirs.
        """
        if self._model is None and self._workers:
            known = [worker.info.model for worker in self._workers if worker.info is not None]
            if not known:
                raise WorkerLost("The workers of the pool have not told their model yet.")
            self._model = known[0]
        self._model = self._model or model
        if model != self._model:
            raise WorkerLost("The remote server serves another model than the others.")


class RemoteReplica(Replica):
    """A `RemoteEngine` that is watched.

    It is ready while its server showed life lately, by an answer to a probe or by any byte of an
    answer, and its calls make progress. A call that is lost alone makes nothing of it: the server
    is probed at once, and the pool counts.
    """

    def __init__(
        self, name: str, settings: RemoteSettings, key: str | None, agreed: AgreedModel
    ) -> None:
        """Describes the replica.

        Args:
            name: What metrics call it, unless the settings name it.
            settings: Where the server is, and what it may be given.
            key: The server's API key.
            agreed: Shared by the remotes of a pool.
        """
        super().__init__(settings.name or name, weight=settings.weight, limit=settings.limit)
        self._agreed = agreed
        self._patience = settings.timeout
        self._engine = RemoteEngine(settings, key)
        self._info: EngineInfo | None = None
        self._state = ReplicaState.STOPPED
        self._changed = asyncio.Event()
        self._doubted = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None

    @property
    def state(self) -> ReplicaState:
        """Where it is in its life."""
        return self._state

    @property
    def ready(self) -> bool:
        """Whether requests can be sent to it."""
        now = asyncio.get_running_loop().time()
        return (
            self._state is ReplicaState.SERVING
            and now - self._engine.seen_at < UNSEEN_SECONDS
            and now - self._engine.denied_at >= DENIED_SECONDS
            and self._engine.health().seconds_since_progress < self._patience / 2
        )

    @property
    def engine(self) -> Engine | None:
        """The engine while its server is there; the same one each time."""
        return self._engine if self._state is ReplicaState.SERVING else None

    @property
    def info(self) -> EngineInfo | None:
        """What the server's model is, once it has said so."""
        return self._info

    def health(self) -> Health | None:
        """How its calls get on."""
        return self._engine.health()

    def condemn(self, engine: Engine) -> None:
        """Looks at the server at once when a call to it was lost."""
        if engine is self._engine:
            self._doubted.set()

    def changed(self) -> Coroutine[None, None, object]:
        """Ends with the next look at the server."""
        return self._changed.wait()

    async def start(self) -> None:
        """Looks for the server once, and goes on looking in the background."""
        self._set(ReplicaState.STARTING)
        await self._look(ReplicaState.STARTING)
        self._watching = asyncio.create_task(self._watch())

    async def aclose(self) -> None:
        """Stops looking and closes all connections; what still runs ends with `WorkerLost`."""
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        self._set(ReplicaState.STOPPED)
        await self._engine.aclose()

    async def _watch(self) -> None:
        pause = FIRST_RETRY_SECONDS
        while True:
            there = self._state is ReplicaState.SERVING
            pause = FIRST_RETRY_SECONDS if there else min(2 * pause, LAST_RETRY_SECONDS)
            await self._rest(PROBE_INTERVAL_SECONDS if there else pause)
            try:
                await self._look(ReplicaState.STARTING if self._info is None else ReplicaState.LOST)
            except Exception:  # no defect may end the watch
                logger.exception("a remote server could not be looked at")

    async def _rest(self, seconds: float) -> None:
        """Waits for a while, or until a call is lost."""
        try:
            async with asyncio.timeout(seconds):
                await self._doubted.wait()
        except TimeoutError:
            return
        self._doubted.clear()

    async def _look(self, otherwise: ReplicaState) -> None:
        """Probes the server; `otherwise` is its state when it is not there."""
        error = await self._missing()
        self._tell(error)
        self._set(ReplicaState.SERVING if error is None else otherwise)

    async def _missing(self) -> CapacityError | None:
        """Why requests cannot be sent to the server; None when they can."""
        try:
            await self._engine.start()
        except CapacityError as error:
            return None if self._flows() else error
        info = self._engine.info
        try:
            self._agreed.check(info.model)
        except WorkerLost as error:  # answers that still come are those of the model before
            return error
        self._info = info
        return None

    def _flows(self) -> bool:
        """Whether answers come all the same: a server under load may miss a probe."""
        health = self._engine.health()
        return (
            self._state is ReplicaState.SERVING
            and health.running > 0
            and health.seconds_since_progress < PROBE_INTERVAL_SECONDS
        )

    def _tell(self, error: CapacityError | None) -> None:
        """One line when the server goes, one when it comes."""
        fields = {"silkline.replica": self.name}
        there = self._state is ReplicaState.SERVING
        if error is None and not there:
            logger.info("a remote server is there", extra={"ecs": fields})
        elif error is not None and (there or self._state is ReplicaState.STARTING):
            fields["error.message"] = error.message
            logger.warning("a remote server is not there", extra={"ecs": fields})

    def _set(self, state: ReplicaState) -> None:
        self._state = state
        self._changed.set()
        self._changed = asyncio.Event()
