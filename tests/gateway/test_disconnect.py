"""Work is given up when its client goes, and not for another reason."""

from __future__ import annotations

import asyncio

import pytest
from starlette.requests import Request
from starlette.types import Message

from silkline.gateway.disconnect import FAST_SECONDS, ClientLeft, unless_client_leaves


class Client:
    """A client that leaves when it is told to."""

    def __init__(self) -> None:
        self.leaving = asyncio.Event()
        self.request = Request({"type": "http"}, self._receive)

    async def _receive(self) -> Message:
        await self.leaving.wait()
        return {"type": "http.disconnect"}


async def test_work_is_awaited() -> None:
    async def work() -> str:
        await asyncio.sleep(0.01)
        return "done"

    before = asyncio.all_tasks()
    assert await unless_client_leaves(Client().request, work()) == "done"
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_work_that_fails_says_how() -> None:
    async def work() -> None:
        raise KeyError

    with pytest.raises(KeyError):
        await unless_client_leaves(Client().request, work())


async def test_work_ends_when_the_client_leaves() -> None:
    client, ended = Client(), asyncio.Event()

    async def work() -> None:
        try:
            client.leaving.set()
            await asyncio.sleep(60)
        finally:
            ended.set()

    with pytest.raises(ClientLeft):
        await unless_client_leaves(client.request, work())
    assert ended.is_set()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)  # no cancellation is left over


async def test_a_cancellation_from_elsewhere_stays_one() -> None:
    client = Client()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2 * FAST_SECONDS):
            await unless_client_leaves(client.request, asyncio.sleep(60))


async def test_both_at_once_is_a_cancellation() -> None:
    client = Client()

    async def work() -> None:
        await asyncio.sleep(60)

    task = asyncio.create_task(unless_client_leaves(client.request, work()))
    await asyncio.sleep(2 * FAST_SECONDS)
    client.leaving.set()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_client_that_left_before_is_noticed() -> None:
    client = Client()
    client.leaving.set()
    with pytest.raises(ClientLeft):
        await unless_client_leaves(client.request, asyncio.sleep(60))
