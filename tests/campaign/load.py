"""Clients that come as they like, not when the servers have time for them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence

from tests.campaign.client import Client, Manner
from tests.campaign.questions import Question


async def together(
    client: Client,
    questions: Sequence[Question],
    *,
    prefix: str = "op",
    manner: Callable[[int], Manner] | None = None,
) -> None:
    """Asks all at once and waits for all."""
    async with asyncio.TaskGroup() as group:
        for place, question in enumerate(questions):
            how = Manner() if manner is None else manner(place)
            group.create_task(client.ask(f"{prefix}-{place}", question, how))


async def arrivals(
    rate: float,
    seconds: float,
    chance: random.Random,
    come: Callable[[int], Awaitable[object]],
    stop: asyncio.Event | None = None,
) -> int:
    """Open loop: calls `come` at the moments of a Poisson process and waits for all in the end.

    Args:
        rate: Arrivals per second.
        seconds: How long they come.
        chance: Gives the moments.
        come: What each does; it gets its place in the order.
        stop: Ends them before.

    Returns:
        How many came.
    """
    loop = asyncio.get_running_loop()
    began, moment, place = loop.time(), 0.0, 0

    async def one(number: int) -> None:
        await come(number)

    async with asyncio.TaskGroup() as group:
        while (moment := moment + chance.expovariate(rate)) < seconds:
            await asyncio.sleep(began + moment - loop.time())
            if stop is not None and stop.is_set():
                break
            group.create_task(one(place))
            place += 1
    return place
