"""Sends a snapshot a second to all who listen; does nothing while nobody does."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable

from silkline.errors import SilklineError
from silkline.gateway.live.snapshot import snapshot_of
from silkline.gateway.sse import event
from silkline.service.lifecycle import Lifecycle

logger = logging.getLogger("silkline.gateway")

PERIOD_SECONDS = 1.0
"""Time between two snapshots."""


class LiveFeed:
    """The snapshots of a server, as server-sent events."""

    def __init__(self, render: Callable[[], Awaitable[bytes]], lifecycle: Lifecycle) -> None:
        """Takes what returns the metrics, and whether the server is about to end."""
        self._render = render
        self._lifecycle = lifecycle
        self._listeners = 0
        self._task: asyncio.Task[None] | None = None
        self._next: asyncio.Future[bytes] | None = None

    async def listen(self) -> AsyncGenerator[bytes, None]:
        """Yields each snapshot as an event, until the server is about to end.

        A listener that is slow misses snapshots; none are kept for it.
        """
        self._listeners += 1
        try:
            yield await self._snapshot()  # at once, so that a page need not wait for a second
            while not self._lifecycle.leaving:
                yield await asyncio.shield(self._coming())
        finally:
            self._listeners -= 1
            if not self._listeners and self._task is not None:
                self._task.cancel()
                self._task = None

    def _coming(self) -> asyncio.Future[bytes]:
        """The next snapshot, which all listeners share."""
        if self._next is None or self._next.done():
            self._next = asyncio.get_running_loop().create_future()
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="live figures")
        return self._next

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(PERIOD_SECONDS)
            try:
                data = await self._snapshot()
            except SilklineError as error:  # other processes do not respond: the next one may come
                logger.debug("no live figures: %s", error.message)
                continue
            if self._next is not None and not self._next.done():
                self._next.set_result(data)

    async def _snapshot(self) -> bytes:
        return event(snapshot_of(await self._render(), time.time()))
