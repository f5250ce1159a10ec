"""Giving up when nobody listens any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.types import Receive

T = TypeVar("T")

CLIENT_LEFT = "client_left"
"""The error code that logs and metrics give to a request whose client went."""

CLIENT_LEFT_STATUS = 499
"""Stands in logs and metrics for the status that nobody received (nginx' convention)."""

WATCH = "silkline.watch"
"""The ASGI extension with which our own connection tells of its end: a `Watch`."""

Watch = Callable[[Callable[[], None]], AbstractContextManager[None]]
"""Calls what it is given when the client leaves, as long as its block runs.

Raises `ClientLeft` at its beginning where the client has left already.
"""


class ClientLeft(Exception):
    """The client closed the connection before its answer was whole; nobody reads a response."""


async def unless_client_leaves(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Awaits `work`, but cancels it as soon as the client closes the connection.

    The request's body must have been read whole.

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

    with closing(work), _watch(request)(leave):
        try:
            return await work
        finally:
            # As in asyncio.timeout: another cancellation at the same time is not ours to end.
            if left and task.uncancel() <= cancelling:
                raise ClientLeft


def _watch(request: Request) -> Watch:
    watch: Watch | None = request.scope.get("extensions", {}).get(WATCH)
    return watch or partial(_watch_messages, request.receive)


@contextmanager
def _watch_messages(receive: Receive, on_leave: Callable[[], None]) -> Iterator[None]:
    """The same for a server that tells of a client's end only by its messages."""
    task = asyncio.get_running_loop().create_task(_disconnect(receive, on_leave))
    try:
        yield
    finally:
        task.cancel()


async def _disconnect(receive: Receive, on_leave: Callable[[], None]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    on_leave()
