"""The fake engine, in this process and in a worker."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

import pytest

from silkline.core import FinishReason, Sampling, Stage
from silkline.engines.base import Engine, EngineOptions
from silkline.engines.registry import create_engine
from silkline.engines.worker.supervisor import WorkerSupervisor
from silkline.errors import (
    ConfigError,
    DeadlineExceeded,
    EnvironmentFault,
    Overloaded,
    ShuttingDown,
)
from tests.engines.asking import answer, deltas, eventually, picture, question, request, user
from tests.engines.conformance import Conformance

SLOW_ENOUGH_TO_CANCEL = EngineOptions(extra={"answer_words": "12", "token_seconds": "0.001"})


class TestFakeEngine(Conformance):
    @pytest.fixture
    async def engine(self) -> AsyncIterator[Engine]:
        engine = create_engine("fake", SLOW_ENOUGH_TO_CANCEL)
        await engine.start()
        yield engine
        await engine.aclose()


class TestFakeEngineInAWorker(Conformance):
    @pytest.fixture
    async def engine(self) -> AsyncIterator[Engine]:
        worker = WorkerSupervisor("fake", SLOW_ENOUGH_TO_CANCEL, health_interval=0.05)
        await worker.start()
        assert worker.engine is not None
        yield worker.engine
        await worker.aclose()


async def started(**extra: str) -> Engine:
    engine = create_engine("fake", EngineOptions(max_batch=4, extra=extra))
    await engine.start()
    return engine


@pytest.fixture
async def echo() -> AsyncGenerator[Engine, None]:
    engine = await started(mode="echo", oom_on_text="<oom>", hang_on_text="<hang>")
    yield engine
    await engine.aclose()


async def test_echo_repeats_the_last_message(echo: Engine) -> None:
    asked = request(
        user("never mind"),
        user(0, "größer 陶瓷 🦉?"),
        images=(picture(width=40, height=30),),
        sampling=Sampling(max_tokens=100),
    )
    assert (await answer(echo, asked)).text == "[40x30] größer 陶瓷 🦉?"


async def test_nothing_is_streamed_but_whole_characters(echo: Engine) -> None:
    asked = question("🦉é陶 " * 10, seed=None, sampling=Sampling(max_tokens=200))
    pieces = await deltas(echo, asked)
    assert len(pieces) > 5
    assert not any("\ufffd" in piece.text for piece in pieces)


async def test_the_end_token_counts(echo: Engine) -> None:
    said = await answer(echo, question("one two three", seed=None))
    assert said.usage.completion_tokens == 4
    cut = await answer(echo, question("one two three", seed=None, sampling=Sampling(max_tokens=3)))
    assert cut.text == said.text
    assert cut.finish_reason is FinishReason.LENGTH


async def test_lack_of_memory_ends_one_request(echo: Engine) -> None:
    asked = [
        question("<oom> bad", seed=None),
        *(question(f"good {n}", seed=None) for n in range(3)),
    ]
    outcomes = await asyncio.gather(*(answer(echo, each) for each in asked), return_exceptions=True)
    assert isinstance(outcomes[0], Overloaded)
    assert not any(isinstance(outcome, BaseException) for outcome in outcomes[1:])


async def test_a_hang_shows_in_the_age_of_the_last_progress(echo: Engine) -> None:
    assert echo.health().seconds_since_progress == 0.0
    with pytest.raises(DeadlineExceeded):
        await answer(echo, question("<hang>", seed=None, timeout_seconds=0.05))
    with pytest.raises(DeadlineExceeded):
        await answer(echo, question("innocent", seed=None, timeout_seconds=0.05))
    await eventually(lambda: echo.health().seconds_since_progress > 0.1)


async def test_requests_wait_when_the_batch_is_full() -> None:
    engine = await started(token_seconds="0.01", answer_words="20")
    readers = [asyncio.create_task(answer(engine, question(seed=n))) for n in range(6)]
    await eventually(lambda: engine.health().running == 4 and engine.health().queued == 2)
    await asyncio.gather(*readers)
    await engine.aclose()


async def test_a_slow_request_takes_its_time() -> None:
    engine = await started(mode="echo", slow_on_text="<slow>", slow_seconds="0.05")
    with pytest.raises(DeadlineExceeded):
        await answer(engine, question("<slow> one two three", seed=None, timeout_seconds=0.1))
    assert (await answer(engine, question("<fast>", seed=None))).text == "<fast>"
    await engine.aclose()


async def test_tokens_and_their_time_can_follow_the_pixels() -> None:
    engine = await started(
        image_tokens="100", pixels_per_token="100", prefill_token_seconds="0.002"
    )
    assert engine.info.pixels_per_token == 100
    usages = []
    for width, height in ((10, 10), (96, 72), (400, 300)):
        image = picture(width=width, height=height)
        told = await answer(engine, request(user("Look:", 0), images=(image,)))
        usages.append(told.usage.image_tokens)
        assert told.timeline.seconds[Stage.PREFILL] >= 0.002 * told.usage.prompt_tokens
    assert usages == [1, 70, 100]
    await engine.aclose()


async def test_closing_ends_what_runs() -> None:
    engine = await started(token_seconds="0.05", answer_words="100")
    reader = asyncio.create_task(answer(engine, question()))
    await eventually(lambda: engine.health().running == 1)
    await engine.aclose()
    with pytest.raises(ShuttingDown):
        await reader
    with pytest.raises(ShuttingDown):
        await answer(engine, question())


async def test_it_can_fail_to_start() -> None:
    with pytest.raises(EnvironmentFault, match="no such accelerator"):
        await started(start_fault="There is no such accelerator.")


@pytest.mark.parametrize(
    "extra", [{"mode": "shout"}, {"moode": "echo"}, {"token_seconds": "-1"}, {"answer_words": "x"}]
)
def test_wrong_options_are_refused(extra: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="Valid options: mode, "):
        create_engine("fake", EngineOptions(extra=extra))


async def test_stop_tokens_before_min_tokens_leave_a_token() -> None:
    engine = await started()
    every = tuple(range(1 << 12))
    sampling = Sampling(max_tokens=4, min_tokens=1, stop_token_ids=every)
    assert (await answer(engine, question(sampling=sampling))).finish_reason is not None
    assert (await answer(engine, question())).finish_reason is not None
    await engine.aclose()
