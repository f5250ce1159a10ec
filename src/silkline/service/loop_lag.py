"""Measures how late the event loop wakes up: what blocks it delays every request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from silkline.aio.background import in_background

SLEEP_SECONDS = 0.5


@asynccontextmanager
async def measured_lag(
    on_lag: Callable[[float], None], sleep_seconds: float = SLEEP_SECONDS
) -> AsyncGenerator[None, None]:
    """Reports the lag of the running event loop in seconds, again and again, during the block."""
    async with in_background(_measure(on_lag, sleep_seconds), "event loop lag"):
        yield


async def _measure(on_lag: Callable[[float], None], sleep_seconds: float) -> None:
    clock = asyncio.get_running_loop().time
    while True:
        due = clock() + sleep_seconds
        await asyncio.sleep(sleep_seconds)
        on_lag(max(0.0, clock() - due))
