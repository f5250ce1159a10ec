"""A served model: its engines while they run, its admission, and the requests that use it."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import replace
from enum import StrEnum

from silkline.admission.admission import Admission
from silkline.admission.limits import Limits
from silkline.config import AdmissionSettings, ModelSettings
from silkline.core import EngineInfo
from silkline.errors import Overloaded, SilklineError, shutting_down
from silkline.models.gate import GateRecord
from silkline.service.pool import Pool, Prepared, aliases, wanted_images
from silkline.service.shares import CapacityShare
from silkline.stores.memory import Memory, PrivateMemory

logger = logging.getLogger("silkline.models")

_RETRY_SECONDS = 5.0
"""After a failed start, for how long requests are refused before one starts the model again."""

_MAX_RETRY_SECONDS = 30
"""Maximum `Retry-After` of a request whose model did not start in time."""


class ModelState(StrEnum):
    """What a model does at this moment."""

    STARTING = "starting"
    SERVING = "serving"
    UNLOADED = "unloaded"
    DRAINING = "draining"


class ServedModel:
    """One served model.

    It may be unloaded while no request uses it, and is started again by the next one. A request
    uses a model from its choice to its answer (`used`), so the engines never change under it.
    """

    def __init__(
        self,
        key: str,
        prepared: Prepared,
        create_pool: Callable[[], Pool],
        admission: AdmissionSettings,
        limits: Limits | None = None,
        memory: Memory | None = None,
        base: ServedModel | None = None,
    ) -> None:
        """Takes a prepared model; nothing is loaded before `start`.

        Args:
            key: Its key in the table of models.
            prepared: The model; released when this is closed.
            create_pool: Creates its engines, which have not started; for each start anew.
            admission: The settings of its admission.
            limits: The tenants' rate limits, which all models share; by default its own.
            memory: What gateway processes share, if there are several.
            base: The model whose engines and admission it shares; None if it has its own.

        Raises:
            ConfigError: A remote's key is missing, or two remotes have the same name.
        """
        self.key = key
        self.prepared = prepared
        self.base = base
        self.admission: Admission = (
            base.admission if base else Admission(admission, self._capacity, limits)
        )
        self._slots = CapacityShare(memory or PrivateMemory())
        self._create_pool = create_pool
        self._pool: Pool | None = create_pool()
        self.aliases = aliases(prepared.wanted)
        self.engine_settings: ModelSettings = base.engine_settings if base else prepared.wanted
        self.wanted_images = wanted_images(self.engine_settings)
        self._reported: EngineInfo | None = None
        self._named: tuple[EngineInfo, EngineInfo] | None = None
        self._users = 0
        self._unused = asyncio.Event()
        self._unused.set()
        self._changing = asyncio.Lock()
        self._waking: asyncio.Task[None] | None = None
        self._unloading: asyncio.Task[None] | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._draining = False
        self._closed = False
        self._loaded = False
        self._start_seconds = 0.0
        self._retry_at = 0.0

    @property
    def name(self) -> str:
        """Its name in the API; empty while only its engine knows it and has not reported it."""
        wanted = self.prepared.wanted.served_name
        return wanted or ("" if self._reported is None else self._reported.model)

    @property
    def engine_info(self) -> EngineInfo:
        """The engine as it describes itself; also while the model is unloaded.

        Raises:
            Overloaded: No engine has started yet.
        """
        if self._pool is not None:
            try:
                self._reported = self._pool.info
            except Overloaded:
                if self._reported is None:
                    raise
        if self._reported is None:
            raise Overloaded("The model is not loaded; try again shortly.", retry_after=2)
        return self._reported

    @property
    def info(self) -> EngineInfo:
        """Describes the model under its name in the API. Raises as `engine_info` does."""
        reported = self.engine_info
        name = self.prepared.wanted.served_name
        if not name or reported.model == name:
            return reported
        if self._named is None or self._named[0] != reported:
            self._named = (reported, replace(reported, model=name))
        return self._named[1]

    @property
    def gate(self) -> GateRecord | None:
        """The gate's record, if it is about the engine that serves the model.

        Raises:
            Overloaded: No engine has started yet.
        """
        files = self.prepared.files
        gate = None if files is None else files.gate
        return gate if gate and gate.engine == self.engine_info.engine else None

    @property
    def label(self) -> str:
        """The model's name and revision, as in responses: `name@revision`."""
        return self.info.label

    @property
    def state(self) -> ModelState:
        """What the model does at this moment."""
        if self._draining:
            return ModelState.DRAINING
        if self._pool is None:
            return ModelState.UNLOADED
        return ModelState.SERVING if self._loaded else ModelState.STARTING

    @property
    def ready(self) -> bool:
        """Whether a request would be answered: by an engine that serves, or by starting one."""
        return self._pool is None or self._pool.ready

    @property
    def has_started(self) -> bool:
        """Whether an engine has started once, so that `info` is known."""
        try:
            return bool(self.engine_info)
        except Overloaded:
            return False

    @property
    def pool(self) -> Pool:
        """The engines; only for who uses the model.

        Raises:
            Overloaded: They were not started, or could not be.
        """
        if self._pool is None:
            raise _not_started(self._start_seconds)
        return self._pool

    @property
    def users(self) -> int:
        """Requests and computations that use the model."""
        return self._users

    @property
    def engines(self) -> Pool | None:
        """The engines; None while the model is unloaded."""
        return self._pool

    def answers_to(self, name: str) -> bool:
        """Whether the model has a name, with or without its revision, or an alias.

        Raises:
            Overloaded: It may: no engine has reported its name or its revision yet.
        """
        if name == self.prepared.wanted.served_name or name in self.aliases:
            return True
        served_name = self.prepared.wanted.served_name
        if served_name and not name.startswith(f"{served_name}@"):
            return False
        return name in {self.info.model, self.label}

    @contextmanager
    def used(self) -> Iterator[None]:
        """Keeps the model from being unloaded or closed while the block runs."""
        self._users += 1
        self._unused.clear()
        self._cancel_idle()
        try:
            with nullcontext() if self.base is None else self.base.used():
                yield
        finally:
            self._users -= 1
            if not self._users:
                self._unused.set()
                self._watch_idle()

    async def awake(self, seconds_left: float) -> None:
        """Returns at once if the model is loaded; otherwise starts it, and waits for that.

        Args:
            seconds_left: What is left of the request's timeout; `cold_start_wait_s` may be less.

        Raises:
            Overloaded: The model did not start in time; the start goes on. Or it failed.
        """
        if self.base is not None:
            await self.base.awake(seconds_left)
        loop = asyncio.get_running_loop()
        if self._pool is None and self._waking is None and loop.time() >= self._retry_at:
            self._waking = asyncio.create_task(self._wake(), name=f"start {self.name}")
        if self._waking is None:
            if self._pool is None:
                raise _not_started(_RETRY_SECONDS)
            return
        wait = min(self.prepared.wanted.cold_start_wait_s, seconds_left)
        done, _ = await asyncio.wait({self._waking}, timeout=wait)
        if not done or self._pool is None:
            raise _not_started(self._start_seconds)

    async def start(self) -> None:
        """Loads the model, and returns when its first engine serves; at once if it is loaded.

        Raises:
            SilklineError: An engine cannot start, or the model was closed meanwhile.
        """
        async with self._changing:
            if self._closed:
                raise shutting_down()
            if self._loaded:
                return
            pool = self._pool or self._create_pool()
            self._pool = pool
            began = asyncio.get_running_loop().time()
            try:
                await pool.start()
            except BaseException:
                self._pool = None
                await pool.aclose()
                raise
            self._loaded = True
            self._start_seconds = asyncio.get_running_loop().time() - began
            self._reported = pool.info
        if not self._users:
            self._watch_idle()

    async def try_start(self) -> None:
        """Loads the model; if it cannot start, logs why, and leaves it unloaded."""
        try:
            await self.start()
            logger.info("model loaded", extra={"ecs": {"silkline.model": self.name}})
        except SilklineError as error:
            fields = {"silkline.model": self.name, "error.message": error.message}
            logger.error("the model cannot be loaded", extra={"ecs": fields})  # noqa: TRY400
            self._retry_at = asyncio.get_running_loop().time() + _RETRY_SECONDS

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        """Shares the engines with other gateway processes, if there are any, during the block."""
        async with self._slots.published(self._serve, self.admission):
            yield

    async def drain(self, seconds: float) -> None:
        """Waits until no request uses the model, or for `seconds`; then closes it."""
        self._draining = True
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._unused.wait()
        await self.aclose()

    async def aclose(self) -> None:
        """Closes the engines; requests that still run end with `ShuttingDown`. Idempotent."""
        self._closed = True
        self._cancel_idle()
        if self.base is None:
            self.admission.close()
        if self._pool is not None:  # also ends a start that is under way
            await self._pool.aclose()
        waiting = [task for task in (self._waking, self._unloading) if task is not None]
        await asyncio.gather(*waiting, return_exceptions=True)
        self.prepared.release()

    def _serve(self) -> None:
        if self._pool is not None:
            self._pool.serve()

    def _capacity(self) -> int:
        return 0 if self._pool is None else self._slots.of(self._pool.capacity())

    async def _wake(self) -> None:
        try:
            await self.try_start()
        finally:
            self._waking = None

    def _watch_idle(self) -> None:
        seconds = self.prepared.wanted.idle_s
        if seconds and self._pool is not None and not self._closed:
            self._cancel_idle()
            self._idle = asyncio.get_running_loop().call_later(seconds, self._begin_unloading)

    def _cancel_idle(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _begin_unloading(self) -> None:
        self._unloading = asyncio.create_task(self._unload(), name=f"unload {self.name}")

    async def _unload(self) -> None:
        async with self._changing:
            pool = self._pool
            if self._users or self._closed or pool is None:
                return
            self._reported = pool.info
            self._pool = None
            self._loaded = False
            logger.info("idle model unloaded", extra={"ecs": {"silkline.model": self.name}})
            await pool.aclose()


def _not_started(start_seconds: float) -> Overloaded:
    """The error of a request whose model did not start in time, or could not be started."""
    seconds = min(_MAX_RETRY_SECONDS, max(1, math.ceil(start_seconds)))
    return Overloaded(
        "The model was not loaded, and has not started in time. Try again shortly.",
        retry_after=seconds,
    )
