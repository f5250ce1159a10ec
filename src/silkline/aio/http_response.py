"""How responses are read from a connection, here and by the fetcher of pictures."""

from __future__ import annotations

from functools import partial
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler


class Response(ResponseHandler):
    """Tells who reads a body when its chunks are broken.

    aiohttp 3.14 ends such a connection, but leaves the reader waiting.
    """

    def data_received(self, data: bytes) -> None:
        """See `ResponseHandler`."""
        super().data_received(data)
        payload = self._payload
        if self.exception() is not None and payload is not None and not payload.is_eof():
            payload.set_exception(aiohttp.ClientPayloadError())


class ReadBy(aiohttp.BaseConnector):
    """A connector whose responses are read by `kind`; stands before one of aiohttp's own."""

    kind: type[ResponseHandler] = Response

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        """Takes what the connector behind it takes."""
        super().__init__(*arguments, **settings)
        self._factory = partial(self.kind, loop=self._loop)
