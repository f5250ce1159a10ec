"""An admission with a simple engine, for tests of its door and its turns."""

import asyncio
from collections.abc import AsyncGenerator

from silkline.admission.admission import Admission
from silkline.admission.cost import Size
from silkline.admission.counts import Refusal
from silkline.admission.tenant import ANYONE, Tenant
from silkline.aio.virtual import now
from silkline.config import AdmissionSettings
from silkline.core import Delta, EngineInfo, FinishReason, PixelBudget, Stage, Timeline, Usage

INFO = EngineInfo("fake", "fake", "0", "none", context_length=8192, image_tokens=16)
BY_PIXELS = EngineInfo(
    "fake",
    "fake",
    "0",
    "none",
    context_length=8192,
    image_tokens=1000,
    pixel_budget=PixelBudget(max_pixels=100_000),
    pixels_per_token=100,
)
SIZE = Size(40, (), max_tokens=10)
USAGE = Usage(10, 10)


class Room:
    """An admission whose engine takes a second for every request, or what it is told."""

    def __init__(self, places: int = 1, **chosen: object) -> None:
        self.places = places
        self.running = 0
        self.started_at = 0.0
        self.door = Admission(
            AdmissionSettings.model_validate(chosen), lambda: self.places, clock=now
        )

    async def compute(self, seconds: float = 1.0) -> AsyncGenerator[Delta, None]:
        self.running += 1
        self.started_at = now()
        assert self.running <= self.places
        try:
            await asyncio.sleep(seconds)
            times = Timeline({Stage.PREFILL: 0.0, Stage.GENERATE: seconds})
            yield Delta("yes", FinishReason.STOP, USAGE, times)
        finally:
            self.running -= 1

    async def ask(
        self,
        tenant: Tenant = ANYONE,
        *,
        seconds: float = 1.0,
        timeout_seconds: float = 100.0,
        elapsed_seconds: float = 0.0,
        lookup: bool = False,
        info: EngineInfo = INFO,
    ) -> Delta:
        with self.door.admit(
            tenant,
            SIZE,
            info,
            timeout_seconds=timeout_seconds,
            elapsed_seconds=elapsed_seconds,
            lookup=lookup,
        ) as ticket:
            deltas = self.door.computed(ticket, lambda: self.compute(seconds))
            return [delta async for delta in deltas][-1]

    async def known(self, times: int = 8) -> None:
        """Lets the admission learn that a request takes a second."""
        for _ in range(times):
            await asyncio.gather(*(self.ask() for _ in range(self.places)))

    def refused(self, tenant: str = "anyone") -> dict[Refusal, int]:
        return dict(self.door.snapshot().tenants[tenant].refused)

    def assert_empty(self) -> None:
        told = self.door.snapshot()
        assert (told.preparing, told.waiting, told.running, told.queue_tokens) == (0, 0, 0, 0)
        assert self.running == 0
