"""Idle capacity: work that starts only when live requests leave room, and makes room for them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from silkline.aio.background import in_background
from silkline.errors import ModelNotFound, Overloaded
from silkline.service.models import ServedModels
from silkline.service.served_model import ServedModel

T = TypeVar("T")

LOOK_SECONDS = 0.01
"""How often the load is looked at while there is work."""

_START_SECONDS = 0.2


@dataclass(slots=True)
class _Lane:
    """The work for one model.

    Attributes:
        waiting: What waits for room, in order of arrival.
        running: What runs, in order of its start.
        granted: What has room and has not started yet.
    """

    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)
    running: dict[asyncio.Task[Any], None] = field(default_factory=dict)
    granted: int = 0


_NO_LANE = _Lane()


class Idle:
    """Runs work in the capacity that live requests leave.

    Work starts while no request waits, and less than `share` of the model's slots are in use. When
    a live request has to wait, the work that started last is stopped and starts again later.
    """

    def __init__(
        self,
        models: ServedModels,
        share: float,
        paused: Callable[[], bool] = lambda: False,
        *,
        everywhere: bool = False,
    ) -> None:
        """Takes what it looks at.

        Args:
            models: The models.
            share: The share of their slots, above 0 and at most 1.
            paused: Whether no work may start now.
            everywhere: Whether work makes room for live requests to all models, which may share
                its cores, instead of those to its own model.
        """
        self._models = models
        self._share = share
        self._everywhere = everywhere
        self._lanes: dict[str, _Lane] = {}
        self._work = asyncio.Event()
        self.paused = paused
        self.preempted = 0
        """How often work was stopped for live requests."""

    @asynccontextmanager
    async def watching(self) -> AsyncGenerator[None, None]:
        """Looks at the load during the block."""
        async with in_background(self._look_often(), "idle capacity"):
            yield

    async def run(self, model: str | None, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Runs work for a model once there is room, from the start again if it was stopped."""
        while True:
            lane = await self._lane(model)
            await self._room(lane)
            task = asyncio.create_task(work())
            lane.granted -= 1
            lane.running[task] = None
            self._work.set()
            try:
                await asyncio.wait({task})
            finally:
                del lane.running[task]
                if not task.done():
                    task.cancel()
                    await asyncio.wait({task})
                self._serve()
            if not task.cancelled():
                return task.result()
            self.preempted += 1

    async def _lane(self, model: str | None) -> _Lane:
        """The lane of a model; all unknown ones, which are refused at once, share one."""
        key: str | None = None
        while key is None:
            try:
                key = self._models.choose(model).key
            except ModelNotFound:
                key = ""
            except Overloaded:  # a model may have this name once it has started
                await asyncio.sleep(_START_SECONDS)
        return self._lanes.setdefault(key, _Lane())

    async def _room(self, lane: _Lane) -> None:
        turn = asyncio.get_running_loop().create_future()
        lane.waiting.append(turn)
        self._work.set()
        self._serve()
        try:
            await turn
        except asyncio.CancelledError:
            if turn in lane.waiting:
                lane.waiting.remove(turn)
            elif not turn.cancelled():  # it had room at the same moment
                lane.granted -= 1
            raise

    def _serve(self) -> None:
        for key, lane in self._lanes.items():
            if not lane.waiting or self.paused():
                continue
            room = self._room_for(self._models.get(key))
            while lane.waiting and room > 0:
                turn = lane.waiting.popleft()
                if not turn.done():
                    turn.set_result(None)
                    lane.granted += 1
                    room -= 1

    def _room_for(self, model: ServedModel | None) -> int:
        """How much more work may start."""
        if model is None:
            return 1  # it is refused at once
        if not model.ready or self._waiting(model):
            return 0
        return min(map(self._free, self._in_the_way(model)))

    def _free(self, model: ServedModel) -> int:
        """How many slots of a model are free within the share."""
        lane = self._lanes.get(model.key, _NO_LANE)
        own = len(lane.running) + lane.granted
        load = model.admission.snapshot()
        live = max(0, load.preparing + load.running - own)
        return max(1, int(load.capacity * self._share)) - live - own

    def _waiting(self, model: ServedModel) -> int:
        """How many live requests wait where the work for a model is in their way."""
        return sum(one.admission.snapshot().waiting for one in self._in_the_way(model))

    def _in_the_way(self, model: ServedModel) -> Iterable[ServedModel]:
        return self._models if self._everywhere else (model,)

    async def _look_often(self) -> None:
        while True:
            if not any(lane.waiting or lane.running for lane in self._lanes.values()):
                self._work.clear()
                await self._work.wait()
            await asyncio.sleep(LOOK_SECONDS)
            for key, lane in self._lanes.items():
                model = self._models.get(key)
                if model is not None and lane.running:
                    _make_room(lane, self._waiting(model))
            self._serve()


def _make_room(lane: _Lane, waiting: int) -> None:
    """Stops as much work as requests wait, the latest first."""
    stopping = sum(task.cancelling() > 0 for task in lane.running)
    for task in reversed(lane.running):
        if stopping >= waiting:
            return
        if not task.cancelling():
            task.cancel()
            stopping += 1
