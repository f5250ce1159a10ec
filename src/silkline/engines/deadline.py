"""Waiting no longer than a request's time lasts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from silkline.errors import DeadlineExceeded

T = TypeVar("T")


async def in_time(awaited: Awaitable[T], deadline: float, *, until: str) -> T:
    """Waits for something until a request's time is over, and gives what came.

    Args:
        awaited: Is cancelled then.
        deadline: On the event loop's clock.
        until: What the client is told it had no time for, such as "its answer was whole".

    Raises:
        DeadlineExceeded: The time is over.
    """
    try:
        async with asyncio.timeout_at(deadline):
            return await awaited
    except TimeoutError:
        raise DeadlineExceeded(f"The request's time was over before {until}.") from None
