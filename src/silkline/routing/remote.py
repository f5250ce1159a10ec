"""A remote server as a replica: probed until it answers, and again whenever it is lost."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Coroutine, Sequence

from silkline.config import RemoteSettings
from silkline.core import EngineInfo, Health
from silkline.engines.base import Engine
from silkline.engines.remote.engine import RemoteEngine
from silkline.errors import CapacityError, WorkerLost
from silkline.routing.replica import Replica, ReplicaState

logger = logging.getLogger("silkline.remote")

PROBE_INTERVAL_SECONDS = 2.0
"""Maximum time between two probes of a server that answers: a short `timeout` needs more of them,
since a whole answer shows no other sign of life."""

FIRST_RETRY_SECONDS = 0.2
LAST_RETRY_SECONDS = 5.0
"""Pause before a server that does not answer is probed again: the first and the longest.

The pause doubles with each probe.
"""

UNSEEN_SECONDS = 10.0
"""A server that sent nothing for this long is not ready, even if its connections are open."""

DENIED_SECONDS = 30.0
"""How long no requests go to a server that refused our key, path or model."""


FULL_SECONDS = 60.0
"""Minimum time between two warnings that a server's limit was reached."""


class AgreedModel:
    """The model that a pool serves: that of its workers, else of the first remote that answered.

    A pool answers with any of its replicas, and caches answers by the model's name. So a server
    with another model, because of a wrong address or a forgotten upgrade, must get no requests.
    """

    def __init__(self, workers: Sequence[Replica] = ()) -> None:
        """Starts without a model; the workers of the pool decide, if it has any."""
        self._workers = tuple(workers)
        self._model: str | None = None

    def check(self, model: str) -> None:
        """Checks that a remote serves the pool's model; the first remote may set it.

        Raises:
            WorkerLost: The pool serves another model, or its workers have not reported theirs yet.
        """
        if self._model is None and self._workers:
            known = [worker.info.model for worker in self._workers if worker.info is not None]
            if not known:
                raise WorkerLost("The workers of the pool have not reported their model yet.")
            self._model = known[0]
        self._model = self._model or model
        if model != self._model:
            raise WorkerLost("The remote server serves another model than the rest of the pool.")


class RemoteReplica(Replica):
    """A `RemoteEngine` whose server is probed in the background.

    It is ready while its server sent something recently, an answer to a probe or any byte of an
    answer, and its calls make progress. One lost call does not change its state: the server is
    probed at once, and the pool counts the error.
    """

    def __init__(
        self, name: str, settings: RemoteSettings, key: str | None, agreed: AgreedModel
    ) -> None:
        """Describes the replica.

        Args:
            name: Its name in metrics, unless the settings give one.
            settings: The server's address, weight and limits.
            key: The server's API key.
            agreed: The pool's model, shared by the remotes of a pool.
        """
        self._engine = RemoteEngine(settings, key)
        super().__init__(settings.name or name, weight=settings.weight, limit=self._engine.limit)
        self._agreed = agreed
        self._patience = settings.timeout
        self._interval = min(PROBE_INTERVAL_SECONDS, settings.timeout / 2)
        self._full_since = -math.inf
        self._info: EngineInfo | None = None
        self._state = ReplicaState.STOPPED
        self._changed = asyncio.Event()
        self._probe_now = asyncio.Event()
        self._probing: asyncio.Task[None] | None = None

    @property
    def state(self) -> ReplicaState:
        """The state of its life cycle."""
        return self._state

    @property
    def ready(self) -> bool:
        """Whether requests can be sent to it."""
        now = asyncio.get_running_loop().time()
        return (
            self._state is ReplicaState.SERVING
            and now - self._engine.seen_at < UNSEEN_SECONDS
            and now - self._engine.denied_at >= DENIED_SECONDS
            and not self._engine.is_stuck(self._patience / 2)
        )

    @property
    def engine(self) -> Engine | None:
        """The engine while its server answers, always the same object; None otherwise."""
        return self._engine if self._state is ReplicaState.SERVING else None

    @property
    def info(self) -> EngineInfo | None:
        """The server's model; None until the server has reported it."""
        return self._info

    @property
    def certificate_expiry(self) -> float | None:
        """Unix time at which its server's TLS certificate expires; None if that is unknown."""
        return self._engine.link.certificate_expiry

    def health(self) -> Health | None:
        """The status of its calls."""
        return self._engine.health()

    def is_full(self) -> None:
        """Logs that its limit was reached, once in `FULL_SECONDS`."""
        now = asyncio.get_running_loop().time()
        if now - self._full_since >= FULL_SECONDS:
            self._full_since = now
            fields = {"silkline.replica": self.name, "silkline.limit": self.limit}
            logger.warning(
                "a remote server has as many requests as its limit; more of them wait",
                extra={"ecs": fields},
            )

    def mark_failed(self, engine: Engine) -> None:
        """Probes the server at once, because a call to it was lost."""
        if engine is self._engine:
            self._probe_now.set()

    def changed(self) -> Coroutine[None, None, object]:
        """Ends with the next probe of the server."""
        return self._changed.wait()

    async def start(self) -> None:
        """Probes the server once, and continues in the background."""
        self._set(ReplicaState.STARTING)
        await self._probe(ReplicaState.STARTING)
        self._probing = asyncio.create_task(self._probe_forever())

    async def aclose(self) -> None:
        """Stops probing and closes all connections; calls still running end with `WorkerLost`."""
        probing, self._probing = self._probing, None
        if probing is not None:
            probing.cancel()
            await asyncio.gather(probing, return_exceptions=True)
        self._set(ReplicaState.STOPPED)
        await self._engine.aclose()

    async def _probe_forever(self) -> None:
        pause = FIRST_RETRY_SECONDS
        while True:
            serving = self._state is ReplicaState.SERVING
            pause = FIRST_RETRY_SECONDS if serving else min(2 * pause, LAST_RETRY_SECONDS)
            await self._sleep(self._interval if serving else pause)
            lost = ReplicaState.STARTING if self._info is None else ReplicaState.LOST
            try:
                await self._probe(lost)
            except Exception:  # a defect must not end the probing
                logger.exception("probing a remote server failed")

    async def _sleep(self, seconds: float) -> None:
        """Waits this long, or until a call is lost."""
        try:
            async with asyncio.timeout(seconds):
                await self._probe_now.wait()
        except TimeoutError:
            return
        self._probe_now.clear()

    async def _probe(self, otherwise: ReplicaState) -> None:
        """Probes the server; `otherwise` is the new state when it cannot take requests."""
        error = await self._why_unavailable()
        self._log(error)
        self._set(ReplicaState.SERVING if error is None else otherwise)

    async def _why_unavailable(self) -> CapacityError | None:
        """Why requests cannot be sent to the server; None when they can."""
        try:
            await self._engine.start()
        except CapacityError as error:
            return None if self._makes_progress() else error
        info = self._engine.info
        self.limit = self._engine.limit
        try:
            self._agreed.check(info.model)
        except WorkerLost as error:  # answers still in flight come from the previous model
            return error
        self._info = info
        return None

    def _makes_progress(self) -> bool:
        """Whether answers still arrive: a server under load may miss a probe."""
        since = asyncio.get_running_loop().time() - self._engine.progress_at
        return self._state is ReplicaState.SERVING and since < PROBE_INTERVAL_SECONDS

    def _log(self, error: CapacityError | None) -> None:
        """Logs one line when the server becomes available, and one when it is lost."""
        fields = {"silkline.replica": self.name}
        serving = self._state is ReplicaState.SERVING
        if error is None and not serving:
            logger.info("a remote server is available", extra={"ecs": fields})
        elif error is not None and (serving or self._state is ReplicaState.STARTING):
            fields["error.message"] = error.message
            logger.warning("a remote server is not available", extra={"ecs": fields})

    def _set(self, state: ReplicaState) -> None:
        self._state = state
        self._changed.set()
        self._changed = asyncio.Event()
