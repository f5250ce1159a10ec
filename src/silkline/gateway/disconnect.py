"""Cancels work when the client closes the connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import closing
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.types import Receive

T = TypeVar("T")

CLIENT_LEFT = "client_left"
"""The error code in logs and metrics of a request whose client disconnected."""

CLIENT_LEFT_STATUS = 499
"""The status in logs and metrics when no client received one (nginx's convention)."""

FAST_SECONDS = 0.05
"""Work that takes no longer is done even if its client leaves."""


class ClientLeft(Exception):
    """The client closed the connection before its response was complete."""


async def unless_client_leaves(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Awaits `work`, but cancels it as soon as the client closes the connection.

    The request's body must have been read completely. The work runs in the caller's own task; a
    second small task waits for the disconnect, but only if the work takes longer than
    `FAST_SECONDS`.

    Raises:
        ClientLeft: The client disconnected before the work was done.
    """
    task = asyncio.current_task()
    if task is None:
        raise TypeError("unless_client_leaves must be awaited in an asyncio task")
    cancelling = task.cancelling()
    left = False

    def on_disconnect() -> None:
        nonlocal left
        left = True
        task.cancel()

    listener: asyncio.Task[None] | None = None

    def listen() -> None:
        nonlocal listener
        listener = loop.create_task(_wait_for_disconnect(request.receive, on_disconnect))

    loop = asyncio.get_running_loop()
    slow = loop.call_later(FAST_SECONDS, listen)
    with closing(work):
        try:
            return await work
        finally:
            slow.cancel()
            if listener is not None:
                listener.cancel()
            # As in asyncio.timeout: a cancellation from elsewhere at the same time must go on.
            if left and task.uncancel() <= cancelling:
                raise ClientLeft


async def _wait_for_disconnect(receive: Receive, on_disconnect: Callable[[], None]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    on_disconnect()
