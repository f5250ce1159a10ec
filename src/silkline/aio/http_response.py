"""Reads HTTP responses from an aiohttp connection, with a fix for broken chunks."""

from __future__ import annotations

from functools import partial
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler


class Response(ResponseHandler):
    """Raises `ClientPayloadError` in the reader of a body whose chunks are malformed.

    aiohttp 3.14 closes such a connection, but leaves the reader waiting.
    """

    def data_received(self, data: bytes) -> None:
        """See `ResponseHandler`."""
        super().data_received(data)
        payload = self._payload
        if self.exception() is not None and payload is not None and not payload.is_eof():
            payload.set_exception(aiohttp.ClientPayloadError())


class ReadBy(aiohttp.BaseConnector):
    """Mixin for aiohttp connectors that reads responses with `kind`; comes first in the bases."""

    kind: type[ResponseHandler] = Response

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        """Takes the arguments of the connector that it is mixed into."""
        super().__init__(*arguments, **settings)
        self._factory = partial(self.kind, loop=self._loop)
