"""Shared computations: one computation, any number of readers, who come and go."""

import asyncio
import gc
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

import pytest

from silkline.cache.coalesce import Coalescer, Computation
from silkline.cache.policy import CacheState
from silkline.core import Delta, FinishReason, Timeline, Usage
from silkline.errors import DeadlineExceeded, Overloaded, ShuttingDown
from tests.cache.asking import KEY
from tests.engines.asking import eventually

LAST = Delta("!", FinishReason.STOP, Usage(1, 1), Timeline())


class Source:
    """A computation that the test drives: gives a delta for each that is put in."""

    def __init__(self) -> None:
        self.started = 0
        self.closed = 0
        self.queue: asyncio.Queue[Delta | Exception] = asyncio.Queue()

    def give(self, *deltas: Delta | Exception) -> None:
        for delta in deltas:
            self.queue.put_nowait(delta)

    async def produce(self, computation: Computation) -> AsyncGenerator[Delta, None]:
        self.started += 1
        computation.begin(CacheState.MISS)
        try:
            while True:
                delta = await self.queue.get()
                if isinstance(delta, Exception):
                    raise delta
                yield delta
                if delta.finish_reason is not None:
                    return
        finally:
            self.closed += 1


async def read(
    coalescer: Coalescer,
    source: Source,
    *,
    timeout_seconds: float = 10.0,
    whole: bool = False,
    renew: bool = False,
    seen: list[str] | None = None,
) -> list[str]:
    seen = [] if seen is None else seen
    with coalescer.join(
        KEY, source.produce, timeout_seconds=timeout_seconds, as_one_delta=whole, renew=renew
    ) as reader:
        assert await reader.state() in {CacheState.MISS, CacheState.COALESCED}
        async with aclosing(reader.deltas()) as deltas:
            async for delta in deltas:
                seen.append(delta.text)
    return seen


def start(coalescer: Coalescer, source: Source, **options: object) -> asyncio.Task[list[str]]:
    return asyncio.create_task(read(coalescer, source, **options))  # type: ignore[arg-type]


async def test_all_readers_see_everything_from_the_beginning() -> None:
    coalescer, source = Coalescer(), Source()
    first = start(coalescer, source)
    source.give(Delta("a"), Delta("b"))
    await asyncio.sleep(0.01)
    late = start(coalescer, source)
    whole = start(coalescer, source, whole=True)
    await asyncio.sleep(0.01)
    assert len(coalescer) == 1
    source.give(Delta("c"), LAST)
    assert await first == await late == ["a", "b", "c", "!"]
    assert await whole == ["abc!"]
    assert source.started == source.closed == 1
    assert len(coalescer) == 0


async def test_a_stream_joins_no_computation_whose_answer_comes_at_its_end() -> None:
    coalescer, source, streamed = Coalescer(), Source(), Source()
    whole = start(coalescer, source, whole=True)
    await asyncio.sleep(0.01)
    seen: list[str] = []
    stream = start(coalescer, streamed, seen=seen)
    await asyncio.sleep(0.01)
    late = start(coalescer, streamed, whole=True)
    streamed.give(Delta("a"))
    await eventually(lambda: seen == ["a"])
    assert len(coalescer) == 2
    streamed.give(LAST)
    source.give(LAST)
    assert await late == ["a!"]
    assert await stream == ["a", "!"]
    assert await whole == ["!"]
    assert source.started == streamed.started == 1


async def test_the_first_reader_may_leave() -> None:
    coalescer, source = Coalescer(), Source()
    leader = start(coalescer, source)
    followers = [start(coalescer, source, whole=place % 2 == 0) for place in range(6)]
    source.give(Delta("a"))
    await asyncio.sleep(0.01)
    leader.cancel()
    await asyncio.wait({leader})
    source.give(Delta("b"), LAST)
    for follower in followers:
        assert "".join(await follower) == "ab!"
    assert source.started == 1


async def test_it_ends_when_the_last_reader_leaves() -> None:
    coalescer, source = Coalescer(), Source()
    readers = [start(coalescer, source) for _ in range(3)]
    source.give(Delta("a"))
    await asyncio.sleep(0.01)
    for place, reader in enumerate(readers):
        assert source.closed == 0, place
        reader.cancel()
        await asyncio.wait({reader})
        await asyncio.sleep(0)
    await eventually(lambda: source.closed == 1)
    assert len(coalescer) == 0


async def test_who_comes_when_the_last_has_left_starts_anew() -> None:
    coalescer, source = Coalescer(), Source()
    reader = start(coalescer, source)
    await asyncio.sleep(0.01)
    reader.cancel()
    await asyncio.wait({reader})
    again = start(coalescer, source)
    await asyncio.sleep(0.01)
    source.give(LAST)
    assert await again == ["!"]
    assert source.started == 2


async def test_nobody_joins_what_was_given_up() -> None:
    coalescer, source = Coalescer(), Source()
    for _ in range(2):
        with coalescer.join(
            KEY, source.produce, timeout_seconds=10, as_one_delta=False, renew=False
        ) as reader:
            assert await reader.state() is CacheState.MISS
    assert source.started == 2
    await coalescer.aclose()


async def test_an_error_goes_to_all_readers_where_it_happened() -> None:
    coalescer, source = Coalescer(), Source()
    seen: list[str] = []
    streaming = start(coalescer, source, seen=seen)
    others = [start(coalescer, source, whole=place > 3) for place in range(8)]
    source.give(Delta("a"), Overloaded("Too much."))
    outcomes = await asyncio.gather(streaming, *others, return_exceptions=True)
    assert all(isinstance(outcome, Overloaded) for outcome in outcomes)
    assert seen == ["a"]
    frames = []
    for outcome in outcomes:
        assert isinstance(outcome, Overloaded)
        trace, count = outcome.__traceback__, 0
        while trace is not None:
            trace, count = trace.tb_next, count + 1
        frames.append(count)
    assert max(frames) < 12, "the readers' frames piled up"
    source.give(LAST)
    assert await read(coalescer, source) == ["!"]


async def test_an_error_that_nobody_reads_is_not_reported_as_lost() -> None:
    coalescer, source = Coalescer(), Source()
    reader = start(coalescer, source)
    await asyncio.sleep(0.01)
    source.give(Overloaded("Too much."))
    reader.cancel()
    await asyncio.wait({reader})
    await asyncio.sleep(0.01)
    gc.collect()  # a lost one would be a warning here, and an error by this suite's rules


async def test_a_slow_reader_holds_nobody_up() -> None:
    coalescer, source = Coalescer(), Source()
    with coalescer.join(
        KEY, source.produce, timeout_seconds=10, as_one_delta=False, renew=False
    ) as reader:
        async with aclosing(reader.deltas()) as deltas:
            source.give(*(Delta(str(n)) for n in range(100)), LAST)
            assert (await anext(deltas)).text == "0"
            assert len(await read(coalescer, source)) == 101
            assert len([delta async for delta in deltas]) == 100


async def test_each_reader_has_its_own_time() -> None:
    coalescer, source = Coalescer(), Source()
    patient = start(coalescer, source)
    await asyncio.sleep(0)
    for whole in (False, True):
        with pytest.raises(DeadlineExceeded):
            await read(coalescer, source, timeout_seconds=0.05, whole=whole)
    source.give(LAST)
    assert await patient == ["!"]


async def test_nobody_joins_what_is_about_to_run_out_of_time() -> None:
    coalescer, source, other = Coalescer(), Source(), Source()
    brief = start(coalescer, source, timeout_seconds=1.0)
    await asyncio.sleep(0.01)
    long = start(coalescer, other, timeout_seconds=10.0)
    await asyncio.sleep(0.01)
    assert (source.started, other.started) == (1, 1)
    joined = start(coalescer, source, timeout_seconds=10.0)
    await asyncio.sleep(0.01)
    assert (source.started, other.started) == (1, 1)
    source.give(LAST)
    other.give(Delta("other"), LAST)
    assert await brief == ["!"]
    assert await long == await joined == ["other", "!"]


async def test_a_renewal_does_not_join_but_may_be_joined() -> None:
    coalescer, old, new = Coalescer(), Source(), Source()
    before = start(coalescer, old)
    await asyncio.sleep(0.01)
    renewing = start(coalescer, new, renew=True)
    await asyncio.sleep(0.01)
    after = start(coalescer, old)
    await asyncio.sleep(0.01)
    old.give(Delta("old"), LAST)
    assert await before == ["old", "!"]
    await asyncio.sleep(0.01)
    later = start(coalescer, old)
    await asyncio.sleep(0.01)
    new.give(Delta("new"), LAST)
    assert await renewing == await after == await later == ["new", "!"]
    assert (old.started, new.started) == (1, 1)


async def test_closing_ends_what_runs() -> None:
    coalescer, source = Coalescer(), Source()
    readers = [start(coalescer, source, whole=whole) for whole in (False, True)]
    source.give(Delta("a"))
    await asyncio.sleep(0.01)
    await coalescer.aclose()
    for outcome in await asyncio.gather(*readers, return_exceptions=True):
        assert isinstance(outcome, ShuttingDown)
    assert source.closed == 1
    await coalescer.aclose()


async def test_it_ends_although_being_cancelled_is_swallowed() -> None:
    coalescer, given = Coalescer(), 0

    async def produce(computation: Computation) -> AsyncGenerator[Delta, None]:
        nonlocal given
        computation.begin(CacheState.MISS)
        for given in range(1000):  # noqa: B007 - looked at by the test
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.005)
            yield Delta("a")

    with coalescer.join(
        KEY, produce, timeout_seconds=10, as_one_delta=False, renew=False
    ) as reader:
        await reader.state()
    await eventually(lambda: len(coalescer) == 0)
    assert given < 3


async def test_leaving_after_the_last_delta_does_not_cut_the_computation_off() -> None:
    """A gateway leaves as soon as it has the last delta; what comes behind it must still run."""
    coalescer, behind = Coalescer(), asyncio.Event()

    async def produce(computation: Computation) -> AsyncGenerator[Delta, None]:
        computation.begin(CacheState.MISS)
        yield LAST
        await asyncio.sleep(0.02)
        behind.set()

    with coalescer.join(
        KEY, produce, timeout_seconds=10, as_one_delta=False, renew=False
    ) as reader:
        async with aclosing(reader.deltas()) as deltas:
            assert await anext(deltas) == LAST
    await asyncio.wait_for(behind.wait(), 5)
    await eventually(lambda: len(coalescer) == 0)
