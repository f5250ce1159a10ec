"""How uvicorn's request cycle sends a response: in one write, and to clients of older protocols."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


class HeldHead:
    """A transport of one response, which writes its head together with the body's first chunk.

    uvicorn writes the head by itself, uvloop sends each write at once, and the client wakes twice.
    A head whose body does not follow at once is written in the loop's next iteration.
    """

    __slots__ = ("_head", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        """Takes the connection's transport."""
        self._transport = transport
        self._head: bytes | None = None

    def write(self, data: bytes) -> None:
        """Writes data; holds the first."""
        if self._head is None:
            self._head = data
            asyncio.get_running_loop().call_soon(self._flush)
        elif self._head:
            head, self._head = self._head, b""
            self._transport.writelines((head, data))
        else:
            self._transport.write(data)

    def close(self) -> None:
        """Closes the connection once all is written."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head)


class Http10Cycle(RequestResponseCycle):
    """Answers an HTTP/1.0 client without chunked encoding: the response ends with the connection.

    https://www.rfc-editor.org/rfc/rfc9112#section-6.1
    """

    async def send(self, message: Any) -> None:
        """Sends a part of the response unframed; bypasses uvicorn's check of its length."""
        self.chunked_encoding = False
        self.expected_content_length = len(message.get("body", b""))
        await super().send(message)


class ExpectContinueCycle(RequestResponseCycle):
    """Handles `Expect: 100-continue`: without a 100 the body never comes, so closes the connection.

    On an open connection, the client's next request would be parsed as the body.
    https://www.rfc-editor.org/rfc/rfc9110#section-10.1.1
    """

    async def send(self, message: Any) -> None:
        """Sends a part of the response; closes afterwards if no 100 was sent."""
        if self.waiting_for_100_continue and self.more_body and not self.body:
            self.keep_alive = False
        await super().send(message)
