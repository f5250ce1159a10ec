"""Giving up when nobody listens any more."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
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

    The request's body must have been read whole.

    Raises:
        ClientLeft: The client went first.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnect(request.receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientLeft
        return working.result()
    finally:
        leaving.cancel()
        working.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
