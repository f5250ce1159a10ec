"""The live figures: one snapshot for all listeners, none without them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest

from silkline.errors import Overloaded
from silkline.gateway.live import feed as feed_module
from silkline.gateway.live.feed import LiveFeed
from silkline.service.lifecycle import Lifecycle


class Source:
    """Metrics whose readings are counted; `fails` makes the next ones fail."""

    def __init__(self) -> None:
        self.reads = 0
        self.fails = 0

    async def render(self) -> bytes:
        self.reads += 1
        if self.fails:
            self.fails -= 1
            raise Overloaded("The other processes do not respond.")
        return b"silkline_open_requests %d\n" % self.reads


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "PERIOD_SECONDS", 0.02)


def read(data: bytes) -> Any:
    return json.loads(data.removeprefix(b"data: "))["open_requests"]


async def take(events: AsyncGenerator[bytes, None], count: int) -> list[Any]:
    return [read(await anext(events)) for _ in range(count)]


async def test_all_listeners_get_the_same_snapshots() -> None:
    source = Source()
    feed = LiveFeed(source.render, Lifecycle())
    async with aclosing(feed.listen()) as first, aclosing(feed.listen()) as second:
        await take(first, 1), await take(second, 1)
        before = source.reads
        one, other = await asyncio.gather(take(first, 5), take(second, 5))
        assert one == other == [before + n for n in range(1, 6)]


async def test_nothing_is_read_without_listeners() -> None:
    source = Source()
    feed = LiveFeed(source.render, Lifecycle())
    async with aclosing(feed.listen()) as events:
        await take(events, 3)
    reads = source.reads
    await asyncio.sleep(0.1)
    assert source.reads == reads
    async with aclosing(feed.listen()) as events:
        assert await take(events, 2) == [reads + 1, reads + 2]


async def test_a_failed_reading_is_left_out() -> None:
    source = Source()
    feed = LiveFeed(source.render, Lifecycle())
    async with aclosing(feed.listen()) as events:
        await take(events, 2)
        source.fails = 2
        assert await take(events, 1) == [5]


async def test_the_stream_ends_when_the_server_is_about_to_end() -> None:
    source, lifecycle = Source(), Lifecycle()
    events = LiveFeed(source.render, lifecycle).listen()
    await anext(events)
    lifecycle.begin_leaving()
    assert len([data async for data in events]) <= 1
    reads = source.reads
    await asyncio.sleep(0.1)
    assert source.reads == reads
