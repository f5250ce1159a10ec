"""Questions, answers and computations for the cache's tests."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from silkline.cache.answers import AnswerCache, Compute
from silkline.cache.base import Tier
from silkline.cache.key import CacheRequest
from silkline.cache.memory import MemoryTier
from silkline.cache.near import NearDuplicates
from silkline.cache.policy import CachePolicy, CacheState
from silkline.cache.tiered import TieredCache
from silkline.core import (
    Answer,
    Delta,
    EngineInfo,
    FinishReason,
    Image,
    PixelBudget,
    Request,
    Stage,
    Timeline,
    Usage,
)
from silkline.engines.base import Engine, EngineOptions
from silkline.engines.fake import create_engine
from silkline.ingress.identity import image_digest
from tests.engines.asking import question

MIB = 1024 * 1024
KEY = bytes(range(32))
HOUR = 3600.0
NORMAL = CachePolicy()


def info(**changes: str) -> EngineInfo:
    base = EngineInfo(
        engine="fake",
        model="fake",
        revision="r1",
        precision="int8",
        context_length=8192,
        image_tokens=16,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def answer(text: str = "a red mug", *, completion_tokens: int = 3) -> Answer:
    return Answer(
        text,
        FinishReason.STOP,
        Usage(prompt_tokens=21, completion_tokens=completion_tokens, image_tokens=16),
        Timeline({Stage.QUEUE: 0.001, Stage.PREFILL: 0.02, Stage.GENERATE: 0.1}),
    )


def image(width: int, height: int, pixels: bytes, mode: str = "RGB") -> Image:
    """A picture with the digest that the ingress gives it."""
    return Image(width, height, pixels, image_digest(mode, width, height, pixels))


def asked_of(
    request: Request, perceptual: int | None = None, pixel_budget: int = 1024 * 1024
) -> CacheRequest:
    """A request as the gateway puts it to the cache."""
    return CacheRequest(
        request.messages,
        tuple(picture.digest for picture in request.images),
        request.sampling,
        request.timeout_seconds,
        request.stream,
        tuple(PixelBudget(pixel_budget) for _ in request.images),
        perceptual,
    )


@dataclass
class Computer:
    """The fake engine, and how often it was asked.

    Attributes:
        asked: Computations that were started.
        ended: Computations whose stream was closed, in whatever way.
    """

    engine: Engine
    asked: int = 0
    ended: int = 0
    requests: list[Request] = field(default_factory=list)

    def compute(self, request: Request) -> Compute:
        """What the gateway passes to the cache for a request."""
        return lambda: self._generate(request)

    async def _generate(self, request: Request) -> AsyncGenerator[Delta, None]:
        self.asked += 1
        self.requests.append(request)
        try:
            async with aclosing(self.engine.generate(request)) as deltas:
                async for delta in deltas:
                    yield delta
        finally:
            self.ended += 1

    @property
    def idle(self) -> bool:
        health = self.engine.health()
        return self.asked == self.ended and health.running == health.queued == 0


@asynccontextmanager
async def computer(**extra: str) -> AsyncGenerator[Computer, None]:
    engine = create_engine(EngineOptions(max_batch=64, extra=extra))
    await engine.start()
    try:
        yield Computer(engine)
    finally:
        await engine.aclose()


@asynccontextmanager
async def cached(
    *further: Tier,
    ttl_seconds: float = HOUR,
    memory_bytes: int = MIB,
    near: NearDuplicates | None = None,
    **extra: str,
) -> AsyncGenerator[tuple[AnswerCache, Computer], None]:
    """A cache over memory and further tiers, and the fake engine that it saves work."""
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(computer(**extra))
        tiers = TieredCache(MemoryTier(memory_bytes), further, ttl_seconds=ttl_seconds)
        cache = AnswerCache(tiers, near)
        stack.push_async_callback(cache.aclose)
        yield cache, engine


async def ask(
    cache: AnswerCache,
    engine: Computer,
    request: Request | None = None,
    policy: CachePolicy = NORMAL,
    perceptual: int | None = None,
    **info_changes: str,
) -> tuple[CacheState, Answer]:
    """Asks as the gateway does: leaves as soon as the last delta has come."""
    request = request or question()
    text: list[str] = []
    async with cache.serve(
        asked_of(request, perceptual), info(**info_changes), policy, engine.compute(request)
    ) as served:
        async for delta in served.deltas:
            delta = served.accounted(delta)  # noqa: PLW2901 - as the service does
            text.append(delta.text)
            if delta.finish_reason and delta.usage and delta.timeline:
                return served.state, Answer(
                    "".join(text), delta.finish_reason, delta.usage, delta.timeline
                )
    raise AssertionError("the stream had no end")


def files_of(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
