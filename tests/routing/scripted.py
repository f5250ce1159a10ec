"""Replicas without processes, that do what a test tells them."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine

from silkline.core import Delta, EngineInfo, FinishReason, Health, Request, Timeline, Usage
from silkline.engines.base import Engine
from silkline.errors import SilklineError
from silkline.routing.replica import Replica, ReplicaState

INFO = EngineInfo("scripted", "scripted", "0", "none", 1000, 1)


class ScriptedEngine(Engine):
    """Answers with its name, after so long, or with an error."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.seconds = 0.0
        self.error: SilklineError | None = None
        self.begins = False
        self.running = 0
        self.most_running = 0
        self.asked: list[Request] = []

    @property
    def info(self) -> EngineInfo:
        return INFO

    async def start(self) -> None: ...

    async def generate(self, request: Request) -> AsyncGenerator[Delta, None]:
        self.asked.append(request)
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        try:
            if self.begins:
                yield Delta("begun ")
            await asyncio.sleep(self.seconds)
            if self.error is not None:
                raise self.error
            yield Delta(self.name, FinishReason.STOP, Usage(1, 1), Timeline({}))
        finally:
            self.running -= 1

    def health(self) -> Health:
        return Health(self.running, 0, 0.0)

    async def aclose(self) -> None: ...


class ScriptedReplica(Replica):
    """As far away as the event loop."""

    def __init__(self, name: str, *, weight: float = 1.0, limit: int = 100) -> None:
        super().__init__(name, weight=weight, limit=limit)
        self.script = ScriptedEngine(name)
        self.up = True
        self._changed = asyncio.Event()

    @property
    def state(self) -> ReplicaState:
        return ReplicaState.SERVING if self.up else ReplicaState.LOST

    @property
    def ready(self) -> bool:
        return self.up

    @property
    def engine(self) -> Engine | None:
        return self.script if self.up else None

    @property
    def info(self) -> EngineInfo | None:
        return INFO if self.up else None

    def health(self) -> Health | None:
        return self.script.health()

    def mark_failed(self, engine: Engine) -> None: ...

    def changed(self) -> Coroutine[None, None, object]:
        return self._changed.wait()

    def turn(self, *, up: bool) -> None:
        self.up = up
        self._changed.set()
        self._changed = asyncio.Event()

    async def start(self) -> None: ...

    async def aclose(self) -> None:
        self.turn(up=False)
