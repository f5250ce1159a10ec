"""Giving up when nobody listens any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import closing
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.types import Receive

T = TypeVar("T")

CLIENT_LEFT = "client_left"
"""The error code that logs and metrics give to a request whose client went."""

CLIENT_LEFT_STATUS = 499
"""Stands in logs and metrics for the status that nobody received (nginx' convention)."""


class ClientLeft(Exception):
    """The client closed the connection before its answer was whole; nobody reads a response."""


async def unless_client_leaves(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Awaits `work`, but cancels it as soon as the client closes the connection.

    The request's body must have been read whole. The work runs in the caller's own task, beside
    one small task that listens for the end.

    Raises:
        ClientLeft: The client went first.
    """
    task = asyncio.current_task()
    if task is None:
        raise TypeError("a request is answered in a task")
    cancelling = task.cancelling()
    left = False

    def leave() -> None:
        nonlocal left
        left = True
        task.cancel()

    watching = asyncio.get_running_loop().create_task(_disconnect(request.receive, leave))
    with closing(work):
        try:
            return await work
        finally:
            watching.cancel()
            # As in asyncio.timeout: another cancellation at the same time is not ours to end.
            if left and task.uncancel() <= cancelling:
                raise ClientLeft


async def _disconnect(receive: Receive, leave: Callable[[], None]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    leave()
