"""Waits until a request's deadline at the latest."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from silkline.errors import DeadlineExceeded

T = TypeVar("T")


async def in_time(awaited: Awaitable[T], deadline: float, *, until: str) -> T:
    """Awaits something until a request's deadline and returns its result.

    Args:
        awaited: Cancelled when the deadline passes.
        deadline: The deadline, on the event loop's clock.
        until: Completes the error message "The request's time was over before ...", such as
            "its answer was complete".

    Raises:
        DeadlineExceeded: The deadline has passed.
    """
    try:
        async with asyncio.timeout_at(deadline):
            return await awaited
    except TimeoutError:
        raise DeadlineExceeded(f"The request's time was over before {until}.") from None
