"""The stepping thread, over a pipeline that fails as it is told to."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from silkline.core import Delta, Usage
from silkline.engines.text_stream import TextStream
from silkline.errors import InternalFault, InvalidRequest, Overloaded, WorkerLost
from tests.engines.asking import eventually

genai = pytest.importorskip("openvino_genai")
stepping = pytest.importorskip("silkline.engines.openvino.stepper")


class Handle:
    """What the pipeline knows of a request."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.cancelled = False
        self.outputs: list[dict[int, Any]] = []
        self.status = genai.GenerationStatus.RUNNING

    def can_read(self) -> bool:
        return bool(self.outputs)

    def read(self) -> dict[int, Any]:
        return self.outputs.pop(0)

    def get_status(self) -> object:
        return self.status

    def cancel(self) -> None:
        self.cancelled = True


class Pipeline:
    """Steps when it is let; each step runs `script`."""

    def __init__(self) -> None:
        self.handles: list[Handle] = []
        self.script: Callable[[], None] = threading.Event().set
        self.steps = threading.Semaphore(0)
        self.refuses: Exception | None = None

    def add_request(self, number: int, *_: object) -> Handle:
        if self.refuses is not None:
            raise self.refuses
        self.handles.append(Handle(number))
        return self.handles[-1]

    def has_non_finished_requests(self) -> bool:
        return any(not handle.cancelled for handle in self.handles)

    def step(self) -> None:
        self.steps.acquire(timeout=5)
        self.script()

    def get_metrics(self) -> SimpleNamespace:
        return SimpleNamespace(cache_usage=0.0)

    def give(self, place: int, *tokens: int, last: bool = False) -> None:
        reason = genai.GenerationFinishReason
        ended = reason.STOP if last else reason.NONE
        output = SimpleNamespace(generated_ids=list(tokens), finish_reason=ended)
        self.handles[place].outputs.append({0: output})


def job() -> Any:
    text = TextStream(lambda tokens: "".join(chr(token) for token in tokens), ())
    config = genai.GenerationConfig()
    return stepping.Job(
        id="test",
        prompt="prompt",
        images=[],
        config=config,
        text=text,
        usage=Usage(1, 0, 0),
        incremental=True,
    )


@pytest.fixture
def pipeline() -> Pipeline:
    return Pipeline()


@pytest.fixture
async def stepper(pipeline: Pipeline) -> AsyncIterator[Any]:
    stepper = stepping.Stepper(pipeline, asyncio.get_running_loop(), max_batch=2)
    stepper.start()
    yield stepper
    pipeline.steps.release(100)
    await asyncio.to_thread(stepper.close)


async def error_of(job: Any) -> Exception:
    async with asyncio.timeout(5):
        event = await job.events.get()
    assert isinstance(event, stepping.Failed)
    return event.error  # type: ignore[no-any-return]


@pytest.mark.parametrize("told", ["empty", "status"])
async def test_a_request_that_the_pipeline_gives_up_ends_alone(
    stepper: Any, pipeline: Pipeline, told: str
) -> None:
    jobs = [job(), job()]
    for each in jobs:
        stepper.submit(each)
    await eventually(lambda: stepper.health().running == 2)

    def give_up() -> None:
        pipeline.give(1, 65, 2, last=True)
        if told == "empty":
            pipeline.handles[0].outputs.append({})
        else:
            pipeline.handles[0].status = genai.GenerationStatus.IGNORED

    pipeline.script = give_up
    pipeline.steps.release()
    assert isinstance(await error_of(jobs[0]), Overloaded)
    last = await jobs[1].events.get()
    assert isinstance(last, Delta)
    assert last.text == "A"
    assert not stepper.failed.is_set()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError("Check 'shape' failed"), InvalidRequest),
        (RuntimeError("Failed to allocate 4000 bytes of memory"), Overloaded),
        (MemoryError(), Overloaded),
        # As the bindings give what C++ raises: std::out_of_range, std::length_error.
        (IndexError("vector::_M_range_check"), InvalidRequest),
        (ValueError("vector::_M_default_append"), InvalidRequest),
    ],
)
async def test_a_request_that_the_pipeline_does_not_take_ends_alone(
    stepper: Any, pipeline: Pipeline, error: Exception, told: type[Exception]
) -> None:
    pipeline.refuses = error
    refused, taken = job(), job()
    stepper.submit(refused)
    assert type(await error_of(refused)) is told
    pipeline.refuses = None
    stepper.submit(taken)
    await eventually(lambda: stepper.health().running == 1)
    assert not stepper.failed.is_set()


async def test_when_the_pipeline_fails_no_request_waits_for_ever(
    stepper: Any, pipeline: Pipeline
) -> None:
    jobs = [job() for _ in range(4)]
    for each in jobs:
        stepper.submit(each)
    await eventually(lambda: stepper.health().running == 2)

    def fail() -> None:
        raise RuntimeError("the device is gone")

    pipeline.script = fail
    pipeline.steps.release()
    for each in jobs:
        assert isinstance(await error_of(each), WorkerLost)
    assert stepper.failed.is_set()
    assert stepper.health().running == stepper.health().queued == 0
    with pytest.raises(WorkerLost):
        stepper.submit(job())


async def test_an_end_that_came_before_the_failure_is_given_out(
    stepper: Any, pipeline: Pipeline
) -> None:
    jobs = [job(), job()]
    for each in jobs:
        stepper.submit(each)
    await eventually(lambda: stepper.health().running == 2)

    def wrong() -> None:
        pipeline.give(0, 65, last=True)
        pipeline.handles[1].outputs.append({0: None})

    pipeline.script = wrong
    pipeline.steps.release()
    assert isinstance(await jobs[0].events.get(), Delta)
    assert isinstance(await error_of(jobs[1]), WorkerLost)


async def test_closing_ends_what_runs_and_what_waits(stepper: Any, pipeline: Pipeline) -> None:
    jobs = [job() for _ in range(4)]
    for each in jobs:
        stepper.submit(each)
    await eventually(lambda: stepper.health().running == 2)
    pipeline.steps.release(100)
    await asyncio.to_thread(stepper.close)
    for each in jobs:
        assert isinstance(await error_of(each), InternalFault)


async def test_a_request_that_is_cancelled_while_it_waits_is_forgotten(
    stepper: Any, pipeline: Pipeline
) -> None:
    jobs = [job() for _ in range(5)]
    for each in jobs:
        stepper.submit(each)
    await eventually(lambda: stepper.health().running == 2)
    for each in jobs[2:]:
        stepper.cancel(each)
    pipeline.steps.release(2)
    await eventually(lambda: stepper.health().queued == 0)
    assert stepper.health().running == 2
    for each in jobs[:2]:
        stepper.cancel(each)
    pipeline.steps.release(2)
    await eventually(lambda: stepper.health().running == 0)
