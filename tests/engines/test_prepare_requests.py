"""Requests that are prepared beside the event loop."""

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from silkline.core import Request
from silkline.engines.prepare_requests import RequestPreparer
from silkline.errors import DeadlineExceeded, InvalidRequest, Overloaded
from tests.engines.asking import eventually, question


@pytest.fixture
async def preparing() -> AsyncIterator[RequestPreparer]:
    preparing = RequestPreparer("test-prepare")
    yield preparing
    preparing.close()


def soon(seconds: float = 10.0) -> float:
    return asyncio.get_running_loop().time() + seconds


async def test_those_whose_time_ends_while_they_wait_are_not_begun(
    preparing: RequestPreparer,
) -> None:
    go_on, begun = threading.Event(), list[str]()

    def prepare(request: Request) -> str:
        begun.append(threading.current_thread().name)
        assert go_on.wait(10)
        return request.id

    many = [
        asyncio.create_task(preparing.run(prepare, question(), soon(10 if number < 2 else 0.1)))
        for number in range(6)
    ]
    await eventually(lambda: len(begun) == 2)
    assert len(preparing) == 6
    for late in many[2:]:
        with pytest.raises(DeadlineExceeded, match="before its prompt was prepared"):
            await late
    assert len(preparing) == 2
    go_on.set()
    assert [await each for each in many[:2]] == ["test", "test"]
    assert len(preparing) == 0
    assert len(begun) == 2
    assert all(name.startswith("test-prepare") for name in begun)


@pytest.mark.parametrize(
    ("error", "told"),
    [(InvalidRequest("It cannot be done."), InvalidRequest), (MemoryError(), Overloaded)],
)
async def test_what_cannot_be_prepared_is_told(
    preparing: RequestPreparer, error: Exception, told: type[Exception]
) -> None:
    def fail(_: Request) -> None:
        raise error

    with pytest.raises(told):
        await preparing.run(fail, question(), soon())
    assert len(preparing) == 0
    assert await preparing.run(lambda request: request.id, question(), soon()) == "test"
