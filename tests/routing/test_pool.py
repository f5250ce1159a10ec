"""The pool over real workers: sharing, limits, cancellation, and lost workers."""

import asyncio
import os
import random
import signal
import time
from contextlib import aclosing

import pytest

from silkline.core import Answer, Stage
from silkline.engines.base import EngineOptions
from silkline.engines.worker.supervisor import WorkerSupervisor
from silkline.errors import (
    ConfigError,
    DeadlineExceeded,
    InvalidRequest,
    Overloaded,
    Quarantined,
    ShuttingDown,
    WorkerLost,
)
from silkline.routing import dispatch
from tests.engines.asking import deltas, eventually, question
from tests.processes import WORKER, children
from tests.routing.pools import LONG, answer, idle, kill, outcome, pool_of, pooled, restarts


async def test_it_answers_as_its_engine_does() -> None:
    async with pooled() as pool:
        assert pool.ready
        assert pool.info.engine == "fake"
        streamed = await answer(pool, question())
        whole = await answer(pool, question(stream=False))
        assert streamed.text == whole.text
        assert streamed.timeline.seconds[Stage.QUEUE] >= 0
        with pytest.raises(InvalidRequest):
            await answer(pool, question("many words " * pool.info.context_length))
        with pytest.raises(DeadlineExceeded):
            await answer(pool, question(timeout_seconds=-1.0))


async def test_before_the_start_it_has_nothing_to_offer() -> None:
    pool = pool_of(WorkerSupervisor("fake", EngineOptions()))
    assert not pool.ready
    with pytest.raises(Overloaded, match="still loading"):
        _ = pool.info
    await pool.aclose()


async def test_a_replica_that_cannot_start_ends_the_start() -> None:
    good = WorkerSupervisor("fake", EngineOptions())
    bad = WorkerSupervisor("fake", EngineOptions(extra={"mode": "shout"}))
    with pytest.raises(ConfigError, match="shout"):
        await pool_of(good, bad).start()
    assert not children(WORKER)


async def test_requests_are_spread_over_the_replicas() -> None:
    async with pooled(replicas=2, token_seconds="0.02") as pool:
        asked = [question(f"question {n}", seed=None) for n in range(8)]
        readers = [asyncio.create_task(answer(pool, each)) for each in asked]
        await eventually(lambda: [each.in_flight for each in pool.health().replicas] == [4, 4])
        await asyncio.gather(*readers)
        assert [each.requests for each in pool.health().replicas] == [4, 4]


@pytest.mark.slow
async def test_a_killed_worker_loses_only_what_was_streamed() -> None:
    async with pooled(token_seconds="0.01", answer_words="8") as pool:
        expected = [(await answer(pool, question(seed=n))).text for n in range(3)]
        asked = [question(seed=n % 3, stream=n % 2 == 0) for n in range(40)]
        readers = [asyncio.create_task(outcome(pool, each)) for each in asked]
        await eventually(lambda: pool.health().replicas[0].in_flight == 40)
        await asyncio.sleep(0.08)
        kill(pool)
        killed = time.monotonic()
        await eventually(lambda: restarts(pool) == 1 and pool.ready)
        assert time.monotonic() - killed < 10
        outcomes = await asyncio.gather(*readers)
        for n, (each, came) in enumerate(zip(asked, outcomes, strict=True)):
            if isinstance(came, Answer):
                assert came.text == expected[n % 3]
            else:
                assert isinstance(came, WorkerLost)
                assert each.stream
        assert any(isinstance(came, WorkerLost) for came in outcomes)
        assert pool.health().retries >= 20
        assert restarts(pool) == 1
        await eventually(lambda: idle(pool))
        assert (await answer(pool, question(seed=0))).text == expected[0]


async def test_requests_that_come_while_no_worker_is_there_wait_for_one() -> None:
    async with pooled() as pool:
        kill(pool)
        await eventually(lambda: not pool.ready)
        came = await answer(pool, question())
        assert came.text
        assert came.timeline.seconds[Stage.QUEUE] > 0.01


@pytest.mark.slow
async def test_another_replica_takes_over() -> None:
    async with pooled(
        replicas=2, start_seconds="3", token_seconds="0.005", answer_words="6"
    ) as pool:
        asked = [question(f"question {n}", seed=None, stream=False) for n in range(8)]
        readers = [asyncio.create_task(answer(pool, each)) for each in asked]
        await eventually(lambda: [each.in_flight for each in pool.health().replicas] == [4, 4])
        kill(pool)
        await asyncio.gather(*readers)
        assert not pool.health().replicas[0].ready
        assert pool.health().retries


@pytest.mark.slow
async def test_a_stopped_worker_loses_nothing() -> None:
    async with pooled(hang_timeout=1.5, token_seconds="0.01") as pool:
        readers = [
            asyncio.create_task(answer(pool, question(seed=n, stream=False))) for n in range(8)
        ]
        await eventually(lambda: pool.health().replicas[0].in_flight == 8)
        kill(pool, signal.SIGSTOP)
        await eventually(lambda: not pool.ready)
        await asyncio.gather(*readers)
        assert restarts(pool) == 1


async def test_a_stopped_worker_does_not_hold_a_request_past_its_time() -> None:
    async with pooled(token_seconds="0.01") as pool:
        pid = kill(pool, signal.SIGSTOP)
        with pytest.raises(DeadlineExceeded):
            await answer(pool, question(timeout_seconds=0.2))
        os.kill(pid, signal.SIGCONT)
        assert (await answer(pool, question())).text


async def test_when_no_worker_comes_back_the_request_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with pooled() as pool:
        monkeypatch.setattr(dispatch, "RECOVERY_SECONDS", 0.3)
        monkeypatch.setenv("PYTHONHOME", "/nowhere")  # no new worker can start
        kill(pool)
        await eventually(lambda: not pool.ready)
        with pytest.raises(Overloaded) as full:
            await answer(pool, question())
        assert full.value.retry_after is not None
        with pytest.raises(DeadlineExceeded):
            await answer(pool, question(timeout_seconds=0.1))
        monkeypatch.delenv("PYTHONHOME")
        await eventually(lambda: pool.ready)
        assert (await answer(pool, question())).text


@pytest.mark.slow
@pytest.mark.parametrize("stream", [True, False])
async def test_a_poisonous_request_ends_two_workers_and_no_innocent_request(stream: bool) -> None:
    async with pooled(crash_on_text="<poison>", token_seconds="0.005") as pool:
        poison = question("<poison>", stream=stream)
        innocent = [question(f"innocent {n}", seed=n, stream=False) for n in range(6)]
        expected = [(await answer(pool, each)).text for each in innocent]
        readers = [asyncio.create_task(answer(pool, each)) for each in innocent]
        with pytest.raises(Quarantined):
            await answer(pool, poison)
        assert [(await reader).text for reader in readers] == expected
        await eventually(lambda: restarts(pool) == 2)
        with pytest.raises(Quarantined):
            await answer(pool, poison)
        assert (await answer(pool, innocent[0])).text == expected[0]
        assert restarts(pool) == 2


async def test_when_an_engine_fails_its_requests_are_tried_again() -> None:
    async with pooled(break_on_text="<break>", token_seconds="0.005") as pool:
        innocent = [question(f"innocent {n}", stream=False) for n in range(4)]
        broken, *others = await asyncio.gather(
            *(outcome(pool, each) for each in (question("<break>"), *innocent))
        )
        assert isinstance(broken, Quarantined)
        assert all(isinstance(each, Answer) for each in others)
        await eventually(lambda: pool.ready)
        assert restarts(pool) == 2


async def test_copies_of_a_poisonous_request_end_two_workers_together() -> None:
    async with pooled(crash_on_text="<poison>", token_seconds="0.005") as pool:
        outcomes = await asyncio.gather(*(outcome(pool, question("<poison>")) for _ in range(8)))
        assert all(isinstance(each, Quarantined) for each in outcomes)
        assert restarts(pool) <= 2


async def test_poison_that_works_late_is_found_too() -> None:
    async with pooled(
        crash_on_text="<poison>", fault_after_tokens="6", token_seconds="0.005", answer_words="12"
    ) as pool:
        poison = question("<poison>", stream=False)
        innocent = [question(f"innocent {n}", stream=False) for n in range(4)]
        first = await asyncio.gather(*(outcome(pool, each) for each in (poison, *innocent)))
        assert isinstance(first[0], Quarantined)
        assert all(isinstance(each, Answer) for each in first[1:])
        assert restarts(pool) <= 2


@pytest.mark.slow
async def test_suspects_do_not_wait_for_each_other_past_their_time() -> None:
    async with pooled(token_seconds="0.04", answer_words="20") as pool:
        alone = time.monotonic()
        await answer(pool, question(stream=False))
        alone = time.monotonic() - alone
        readers = [
            asyncio.create_task(
                answer(pool, question(seed=n, stream=False, timeout_seconds=6 * alone))
            )
            for n in range(10)
        ]
        await eventually(lambda: pool.health().replicas[0].in_flight == 10)
        kill(pool)
        assert all(each.text for each in await asyncio.gather(*readers))


@pytest.mark.slow
async def test_when_suspects_overlap_nobody_is_convicted_for_another() -> None:
    async with pooled(
        crash_on_text="<poison>", fault_after_tokens="20", token_seconds="0.03", answer_words="24"
    ) as pool:
        poison = question("<poison>", stream=False, timeout_seconds=5)
        innocent = [question(f"good {n}", stream=False, timeout_seconds=5) for n in range(6)]
        first = await asyncio.gather(*(outcome(pool, each) for each in (poison, *innocent)))
        assert not any(isinstance(each, Quarantined) for each in first[1:])
        assert isinstance(await outcome(pool, poison), Quarantined)
        await eventually(lambda: pool.ready)
        assert restarts(pool) <= 3
        assert (await answer(pool, innocent[0])).text


async def test_a_request_that_hangs_the_engine_is_quarantined() -> None:
    async with pooled(hang_on_text="<hang>", hang_timeout=0.5) as pool:
        innocent = asyncio.create_task(answer(pool, question("innocent", stream=False)))
        with pytest.raises(Quarantined):
            await answer(pool, question("<hang>"))
        assert (await innocent).text
        await eventually(lambda: restarts(pool) == 2)


async def test_clients_that_leave_at_any_time_leave_nothing_behind() -> None:
    dice = random.Random(5)
    async with pooled(token_seconds="0.002", answer_words="30") as pool:
        await answer(pool, question())
        tasks = len(asyncio.all_tasks())

        async def leave(n: int) -> None:
            asked = question(seed=n, sampling=LONG, stream=n % 2 == 0)
            if n % 3:
                async with asyncio.timeout(dice.random() * 0.1):
                    await answer(pool, asked)
            else:
                async with aclosing(pool.generate(asked)) as stream:
                    for _ in range(dice.randrange(6)):
                        await anext(stream, None)

        for start in range(0, 200, 50):
            await asyncio.gather(
                *(leave(n) for n in range(start, start + 50)), return_exceptions=True
            )
        await eventually(lambda: idle(pool))
        await eventually(lambda: len(asyncio.all_tasks()) <= tasks)
        assert restarts(pool) == 0
        assert (await answer(pool, question())).text


async def test_clients_that_leave_while_they_wait_for_a_worker_leave_nothing_behind() -> None:
    async with pooled(start_seconds="0.5") as pool:
        tasks = len(asyncio.all_tasks())
        kill(pool)
        await eventually(lambda: not pool.ready)
        readers = [asyncio.create_task(outcome(pool, question(seed=n))) for n in range(20)]
        await asyncio.sleep(0.1)
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        await eventually(lambda: pool.ready and idle(pool))
        await eventually(lambda: len(asyncio.all_tasks()) <= tasks)


async def test_closing_ends_what_runs() -> None:
    async with pooled(token_seconds="0.5") as pool:
        readers = [
            asyncio.create_task(outcome(pool, question(stream=n % 2 == 0))) for n in range(4)
        ]
        await eventually(lambda: pool.health().replicas[0].in_flight == 4)
        await pool.aclose()
        for reader in readers:
            assert isinstance(await reader, ShuttingDown)
        with pytest.raises(ShuttingDown):
            await answer(pool, question())
        with pytest.raises(ShuttingDown):
            await deltas(pool, question())  # type: ignore[arg-type]


async def test_a_stream_is_read_at_the_readers_pace() -> None:
    async with pooled(answer_words="200") as pool:
        pieces = []
        async with aclosing(pool.generate(question(sampling=LONG))) as stream:
            async for piece in stream:
                pieces.append(piece.text)
                await asyncio.sleep(0.001)
        whole = await deltas(pool, question(sampling=LONG, stream=False))  # type: ignore[arg-type]
        assert "".join(pieces) == whole[0].text
