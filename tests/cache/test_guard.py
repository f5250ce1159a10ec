"""The guard: what fails, is late or comes too often gives None, and is soon not tried at all."""

import asyncio

import pytest

from silkline.aio import breaker as breaker_module
from silkline.aio.breaker import FAILURES_TO_OPEN
from silkline.cache import guard as guard_module
from silkline.cache.guard import Guard


def guard(seconds: float = 10.0) -> Guard:
    return Guard("test", faults=(OSError,), timeout_seconds=seconds)


async def good() -> str:
    return "good"


async def failing() -> str:
    raise OSError


async def waiting() -> str:
    await asyncio.Event().wait()
    return "late"


async def test_it_gives_what_the_use_gives() -> None:
    made = guard()
    assert await made.use(good) == "good"
    assert not made.breaker.degraded


async def test_a_fault_is_none_and_several_in_a_row_end_the_trying() -> None:
    made = guard()
    for _ in range(FAILURES_TO_OPEN):
        assert await made.use(failing) is None
    assert await made.use(good) is None
    assert made.breaker.errors == FAILURES_TO_OPEN


async def test_nobody_waits_while_it_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker_module, "RETRY_SECONDS", 0.05)
    made = guard()
    for _ in range(FAILURES_TO_OPEN):
        await made.use(failing)
    await asyncio.sleep(0.06)
    async with asyncio.timeout(1):
        assert await made.use(waiting) is None
    await made.aclose()
    await asyncio.sleep(0.06)
    assert await made.use(good) is None
    await asyncio.sleep(0)
    assert await made.use(good) == "good"


async def test_what_is_late_is_a_fault() -> None:
    made = guard(0.01)
    assert await made.use(waiting) is None
    assert made.breaker.degraded


async def test_a_defect_is_none_too_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def wrong() -> str:
        raise KeyError

    made = guard()
    assert await made.use(wrong) is None
    assert made.breaker.degraded
    assert "defect in the cache's test" in caplog.text


async def test_too_many_at_once_are_left_out_and_say_nothing_of_the_store(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guard_module, "MAX_WAITING", 2)
    made = guard()
    tasks = [asyncio.create_task(made.use(waiting)) for _ in range(2)]
    await asyncio.sleep(0)
    for _ in range(FAILURES_TO_OPEN):
        assert await made.use(good) is None
    assert (made.breaker.errors, made.breaker.degraded) == (0, False)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert await made.use(good) == "good"
