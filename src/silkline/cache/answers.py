"""Answers requests from the cache, or computes them once for all who ask."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace

from silkline.cache.coalesce import Coalescer, Flight, Reader
from silkline.cache.key import Asked, answer_key, context_key
from silkline.cache.likeness import Likeness
from silkline.cache.near import NearDuplicates, NearSnapshot
from silkline.cache.policy import CachePolicy, CacheState, CacheUse
from silkline.cache.tiered import TieredCache, TierSnapshot
from silkline.core import Answer, Delta, EngineInfo, Stage, Timeline, join

Compute = Callable[[], AsyncGenerator[Delta, None]]
"""Starts to compute an answer, as `Engine.generate` does."""


@dataclass(frozen=True, slots=True)
class Served:
    """An answer on its way.

    Attributes:
        state: What the cache did.
        deltas: The answer as it was computed, for this request or another one.
        looked_up: Seconds that the cache took.
        since: When the answer began to be read, by the monotonic clock.
    """

    state: CacheState
    deltas: AsyncGenerator[Delta, None]
    looked_up: float = 0.0
    since: float = field(default_factory=time.monotonic)

    def accounted(self, last: Delta) -> Delta:
        """The last delta with the usage and the timeline of this request."""
        if self.state is CacheState.BYPASS or last.usage is None or last.timeline is None:
            return last
        stages = Timeline({Stage.CACHE: self.looked_up})
        if self.state is CacheState.MISS:
            return replace(last, timeline=stages.plus(last.timeline))
        if self.state is CacheState.COALESCED:
            stages = stages.plus(Timeline({Stage.QUEUE: time.monotonic() - self.since}))
        # Nothing of the prompt was computed for this request.
        usage = replace(last.usage, cached_tokens=last.usage.prompt_tokens)
        return replace(last, usage=usage, timeline=stages)


@dataclass(frozen=True, slots=True)
class CacheSnapshot:
    """How the cache gets on.

    Attributes:
        computing: Computations that run and may be shared.
        tiers: Each tier, the nearest first.
        near: How often pictures were taken for one another; None where they are kept apart.
    """

    computing: int
    tiers: tuple[TierSnapshot, ...]
    near: NearSnapshot | None


class AnswerCache:
    """Stands between the requests and what computes their answers.

    Only deterministic requests have a part in it: the others are all computed, each for itself.

    An answer that was not computed for its request has the usage of the computation, but
    `cached_tokens` is all of the prompt: the engine did not compute it again. Its timeline has
    `Stage.CACHE`, and `Stage.QUEUE` for the time in which another request's computation was
    waited for; the engine's stages stand only where the engine's time was spent.
    """

    def __init__(self, tiers: TieredCache, near: NearDuplicates | None = None) -> None:
        """Keeps answers in the tiers; closing this closes them.

        Args:
            tiers: Where answers are kept.
            near: Finds the answers of similar pictures; None leaves those apart.
        """
        self._tiers = tiers
        self._near = near
        self._coalescer = Coalescer()

    @asynccontextmanager
    async def find(
        self, asked: Asked, info: EngineInfo, policy: CachePolicy
    ) -> AsyncIterator[Served | None]:
        """Answers a question whose pictures need not be there: none of it is computed for it.

        It is None where no answer is kept or being computed, or the request wants a new one.

        Raises:
            SilklineError: What the computation raises that it joined.
            DeadlineExceeded: The request's own time is over.
            ShuttingDown: The cache was closed meanwhile.
        """
        if policy.use is not CacheUse.NORMAL or not asked.sampling.is_deterministic:
            yield None
            return
        started = time.monotonic()
        key = answer_key(asked, info, policy.tenant)
        if answer := await self._tiers.get_near(key):
            yield self._hit(answer, started)
            return
        with self._coalescer.follow(
            key, timeout_seconds=asked.timeout_seconds, whole=not asked.stream
        ) as reader:
            if reader is not None:
                async with self._read(reader, started) as served:
                    yield served
                return
        answer = await self._tiers.get_further(key)
        yield None if answer is None else self._hit(answer, started)

    @asynccontextmanager
    async def serve(
        self,
        asked: Asked,
        info: EngineInfo,
        policy: CachePolicy,
        compute: Compute,
        *,
        looked: bool = False,
    ) -> AsyncIterator[Served]:
        """Answers a request.

        The state is known when the block begins. Leaving the block, however, gives the request's
        part in the computation up; the computation itself goes on while another request reads it.

        Args:
            asked: The question.
            info: What `compute` asks.
            policy: How the request may use the cache.
            compute: Computes the answer.
            looked: Whether `find` was just asked the same: the further tiers are not read again,
                and what the first one has got meanwhile is all that counts there.

        Raises:
            SilklineError: What `compute` raises, whichever request it was called for.
            DeadlineExceeded: The request's own time is over.
            ShuttingDown: The cache was closed meanwhile.
        """
        if policy.use is CacheUse.NONE or not asked.sampling.is_deterministic:
            async with aclosing(compute()) as deltas:
                yield Served(CacheState.BYPASS, deltas)
            return
        started = time.monotonic()
        key = answer_key(asked, info, policy.tenant)
        renew = policy.use is CacheUse.RENEW
        answer = None if renew else await self._tiers.get_near(key, again=looked)
        if answer is not None:
            yield self._hit(answer, started)
            return

        likeness = self._likeness(asked, info, policy)

        def produce(flight: Flight) -> AsyncGenerator[Delta, None]:
            return self._produce(flight, key, likeness, compute, renew=renew, looked=looked)

        with self._coalescer.join(
            key,
            produce,
            timeout_seconds=asked.timeout_seconds,
            whole=not asked.stream,
            renew=renew,
        ) as reader:
            async with self._read(reader, started) as served:
                yield served

    def snapshot(self) -> CacheSnapshot:
        """How it gets on; never waits."""
        return CacheSnapshot(
            computing=len(self._coalescer),
            tiers=self._tiers.snapshot(),
            near=None if self._near is None else self._near.snapshot(),
        )

    async def aclose(self) -> None:
        """Ends what is computed, writes what is still to be written, and closes the tiers."""
        await self._coalescer.aclose()
        await self._tiers.aclose()

    def _hit(self, answer: Answer, started: float) -> Served:
        return Served(CacheState.HIT, _replay(answer), time.monotonic() - started)

    @asynccontextmanager
    async def _read(self, reader: Reader, started: float) -> AsyncIterator[Served]:
        state = await reader.state()
        async with aclosing(reader.deltas()) as deltas:
            yield Served(state, deltas, time.monotonic() - started)

    def _likeness(self, asked: Asked, info: EngineInfo, policy: CachePolicy) -> Likeness | None:
        if self._near is None or asked.perceptual is None:
            return None
        context = context_key(asked, info, policy.tenant)
        return Likeness(self._near, self._tiers, context, asked.perceptual)

    async def _produce(
        self,
        flight: Flight,
        key: bytes,
        likeness: Likeness | None,
        compute: Compute,
        *,
        renew: bool,
        looked: bool,
    ) -> AsyncGenerator[Delta, None]:
        """An answer from a further tier or of a similar picture, or else a new one."""
        unread = not (renew or looked)
        state, kept = CacheState.HIT, await self._tiers.get_further(key) if unread else None
        if kept is None and likeness is not None and not renew:
            # It is not kept under this key: it would pass for this picture's own from then on.
            state, kept = CacheState.NEAR, await likeness.answer()
        if kept is not None:
            flight.begin(state)
            async for delta in _replay(kept):
                yield delta
            return
        flight.begin(CacheState.MISS)
        given: list[Delta] = []
        async with aclosing(compute()) as deltas:
            async for delta in deltas:
                given.append(delta)
                if answer := _answer(given):
                    # Before its end is given out: then nobody may be left to wait for this.
                    await self._tiers.put(key, answer)
                    if likeness is not None:
                        likeness.computed(key, answer)
                yield delta


async def _replay(answer: Answer) -> AsyncGenerator[Delta, None]:
    yield Delta(answer.text, answer.finish_reason, answer.usage, answer.timeline)


def _answer(deltas: list[Delta]) -> Answer | None:
    """The whole answer; None while, or if, it has no proper end."""
    last = deltas[-1]
    if last.finish_reason is None or last.usage is None or last.timeline is None:
        return None
    return Answer(join(deltas).text, last.finish_reason, last.usage, last.timeline)
