"""Answers requests from the cache, or computes an answer once for all equal requests."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace

from silkline.cache.coalesce import Coalescer, Computation, Reader
from silkline.cache.key import CacheRequest, answer_key, context_key
from silkline.cache.likeness import NearDuplicateLookup
from silkline.cache.near import NearDuplicates, NearSnapshot
from silkline.cache.policy import CachePolicy, CacheState, CacheUse
from silkline.cache.tiered import TieredCache, TierSnapshot
from silkline.core import Answer, Delta, EngineInfo, Stage, Timeline, complete

Compute = Callable[[], AsyncGenerator[Delta, None]]
"""Starts to compute an answer, like `Engine.generate`."""


@dataclass(frozen=True, slots=True)
class AnswerStream:
    """An answer from the cache or from a computation, as a stream.

    Attributes:
        state: What the cache did.
        deltas: The answer as it was computed, for this request or another one.
        looked_up: Seconds that the cache lookup took.
        since: When reading the answer began, on the monotonic clock.
    """

    state: CacheState
    deltas: AsyncGenerator[Delta, None]
    looked_up: float = 0.0
    since: float = field(default_factory=time.monotonic)

    def accounted(self, last: Delta) -> Delta:
        """The last delta, with the usage and the timeline of this request."""
        if self.state is CacheState.BYPASS or last.usage is None or last.timeline is None:
            return last
        stages = Timeline({Stage.CACHE: self.looked_up})
        if self.state is CacheState.MISS:
            return last.timed(stages.plus(last.timeline))
        if self.state is CacheState.COALESCED:
            stages = stages.plus(Timeline({Stage.QUEUE: time.monotonic() - self.since}))
        # Nothing of the prompt was computed for this request.
        usage = replace(last.usage, cached_tokens=last.usage.prompt_tokens)
        return replace(last, usage=usage, timeline=stages)


@dataclass(frozen=True, slots=True)
class CacheSnapshot:
    """The status of the cache.

    Attributes:
        computing: Computations that run and may be shared.
        tiers: The status of each tier, in the order in which they are read.
        near: Counts of near-duplicate hits; None if near duplicates are off.
    """

    computing: int
    tiers: tuple[TierSnapshot, ...]
    near: NearSnapshot | None


class AnswerCache:
    """Answers requests from the cache tiers, and shares computations between equal requests.

    Only deterministic requests use it: each of the others is computed separately.

    An answer that was not computed for its request has the usage of the computation, but its
    `cached_tokens` are all tokens of the prompt: the engine did not compute it again. Its timeline
    has `Stage.CACHE`, and `Stage.QUEUE` for the wait for another request's computation; only the
    request whose answer was computed has the engine's stages.
    """

    def __init__(self, tiers: TieredCache, near: NearDuplicates | None = None) -> None:
        """Stores answers in the tiers; closing the cache closes them.

        Args:
            tiers: The tiers that store answers.
            near: Finds answers of near-duplicate images; None turns this off.
        """
        self._tiers = tiers
        self._near = near
        self._coalescer = Coalescer()

    @asynccontextmanager
    async def find(
        self, request: CacheRequest, info: EngineInfo, policy: CachePolicy
    ) -> AsyncIterator[AnswerStream | None]:
        """Looks up an answer without computing it; the images need not be loaded.

        Yields None if no answer is cached or being computed, or the request asks for a new one.

        Raises:
            SilklineError: The error of a computation that it joined.
            DeadlineExceeded: The request's timeout ended.
            ShuttingDown: The cache was closed meanwhile.
        """
        if policy.use is not CacheUse.NORMAL or not request.sampling.is_deterministic:
            yield None
            return
        started = time.monotonic()
        key = answer_key(request, info, policy.tenant)
        if answer := await self._tiers.get_first(key):
            yield self._hit(answer, started)
            return
        reader = self._coalescer.follow(
            key, timeout_seconds=request.timeout_seconds, as_one_delta=not request.stream
        )
        if reader is not None:
            async with self._read(reader, started) as stream:
                yield stream
            return
        answer = await self._tiers.get_lower(key)
        yield None if answer is None else self._hit(answer, started)

    @asynccontextmanager
    async def serve(
        self,
        request: CacheRequest,
        info: EngineInfo,
        policy: CachePolicy,
        compute: Compute,
        *,
        looked: bool = False,
    ) -> AsyncIterator[AnswerStream]:
        """Answers a request from the cache, from a running computation, or by computing.

        The state is known when the block begins. Leaving the block stops reading the computation;
        the computation itself continues while another request reads it.

        Args:
            request: The request.
            info: The description of the engine that `compute` uses.
            policy: How the request may use the cache.
            compute: Computes the answer.
            looked: Whether `find` has just missed for the same request: then only the first tier is
                read again, and its miss is not counted a second time.

        Raises:
            SilklineError: The error of `compute`, even if it was called for another request.
            DeadlineExceeded: The request's timeout ended.
            ShuttingDown: The cache was closed meanwhile.
        """
        if policy.use is CacheUse.NONE or not request.sampling.is_deterministic:
            async with aclosing(compute()) as deltas:
                yield AnswerStream(CacheState.BYPASS, deltas)
            return
        started = time.monotonic()
        key = answer_key(request, info, policy.tenant)
        renew = policy.use is CacheUse.RENEW
        answer = None if renew else await self._tiers.get_first(key, again=looked)
        if answer is not None:
            yield self._hit(answer, started)
            return

        lookup = self._lookup(request, info, policy)

        def produce(computation: Computation) -> AsyncGenerator[Delta, None]:
            return self._produce(computation, key, lookup, compute, renew=renew, looked=looked)

        reader = self._coalescer.join(
            key,
            produce,
            timeout_seconds=request.timeout_seconds,
            as_one_delta=not request.stream,
            renew=renew,
        )
        async with self._read(reader, started) as stream:
            yield stream

    def snapshot(self) -> CacheSnapshot:
        """A snapshot of the status; never waits."""
        return CacheSnapshot(
            computing=len(self._coalescer),
            tiers=self._tiers.snapshot(),
            near=None if self._near is None else self._near.snapshot(),
        )

    async def aclose(self) -> None:
        """Ends all computations, finishes pending writes, and closes the tiers."""
        await self._coalescer.aclose()
        await self._tiers.aclose()

    def _hit(self, answer: Answer, started: float) -> AnswerStream:
        return AnswerStream(CacheState.HIT, _replay(answer), time.monotonic() - started)

    @asynccontextmanager
    async def _read(self, reader: Reader, started: float) -> AsyncIterator[AnswerStream]:
        with reader:
            state = await reader.state()
            async with aclosing(reader.deltas()) as deltas:
                yield AnswerStream(state, deltas, time.monotonic() - started)

    def _lookup(
        self, request: CacheRequest, info: EngineInfo, policy: CachePolicy
    ) -> NearDuplicateLookup | None:
        if self._near is None or request.perceptual is None:
            return None
        context = context_key(request, info, policy.tenant)
        return NearDuplicateLookup(self._near, self._tiers, context, request.perceptual)

    async def _produce(
        self,
        computation: Computation,
        key: bytes,
        lookup: NearDuplicateLookup | None,
        compute: Compute,
        *,
        renew: bool,
        looked: bool,
    ) -> AsyncGenerator[Delta, None]:
        """An answer from a lower tier, that of a near-duplicate image, or else a new one."""
        unread = not (renew or looked)
        state, kept = CacheState.HIT, await self._tiers.get_lower(key) if unread else None
        if kept is None and lookup is not None and not renew:
            # It is not stored under this key: it would then count as this image's own answer.
            state, kept = CacheState.NEAR, await lookup.answer()
        if kept is not None:
            computation.begin(state)
            async for delta in _replay(kept):
                yield delta
            return
        computation.begin(CacheState.MISS)
        seen: list[Delta] = []
        async with aclosing(compute()) as deltas:
            async for delta in deltas:
                seen.append(delta)
                if answer := complete(seen):
                    # Store it before the last delta is sent: after that, the last reader may
                    # leave, which would cancel this.
                    await self._tiers.put(key, answer)
                    if lookup is not None:
                        lookup.computed(key, answer)
                yield delta


async def _replay(answer: Answer) -> AsyncGenerator[Delta, None]:
    yield answer.as_delta()
