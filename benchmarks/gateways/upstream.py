"""The server behind the gateways: answers each completion after the same time, streamed or whole.

The first chunk of a stream comes at once, the last one when the time is over. Nothing is computed,
so that the processor time of this process stays small beside that of a gateway.

    python -m benchmarks.gateways.upstream PORT MILLISECONDS
"""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from typing import Any, cast

import httptools
import msgspec
import uvloop

MODEL = "upstream"
CHUNKS = 32

_FIRST_BYTES = 4096
"""Where `"stream"` is looked for: the requests have it before their messages or after them."""

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\n"
_USAGE = {"prompt_tokens": 16, "completion_tokens": CHUNKS, "total_tokens": 16 + CHUNKS}


def main() -> None:
    """Serves until it is ended."""
    port, milliseconds = int(sys.argv[1]), float(sys.argv[2])
    uvloop.run(_serve(port, milliseconds / 1000))


async def _serve(port: int, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(partial(_Connection, seconds), "127.0.0.1", port)
    await server.serve_forever()


class _Connection(asyncio.Protocol):
    """One connection, whose requests come one after another."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._path = b""
        self._first = b""
        self._last = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._path = self._first = self._last = b""

    def on_url(self, url: bytes) -> None:
        self._path += url

    def on_body(self, body: bytes) -> None:
        if len(self._first) < _FIRST_BYTES:
            self._first += body[:_FIRST_BYTES]
        self._last = (self._last + body)[-_FIRST_BYTES:]

    def on_message_complete(self) -> None:
        if not self._path.endswith(b"/completions"):
            self._write(_whole({"object": "list", "data": [_LISTED], **_LISTED, "status": "ok"}))
        elif is_streamed(self._first + self._last):
            self._loop.call_soon(self._send_chunk, 0, self._loop.time())
        else:
            self._loop.call_later(self._seconds, self._write, _ANSWER)

    def _send_chunk(self, index: int, began: float) -> None:
        """Sends a chunk, and plans the next one; the last one ends the stream."""
        if index == 0:
            self._write(_STREAM_HEAD)
        self._write(_CHUNKS[index])
        if index + 1 < CHUNKS:
            due = began + self._seconds * (index + 1) / (CHUNKS - 1)
            self._loop.call_at(due, self._send_chunk, index + 1, began)

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)


def is_streamed(body: bytes) -> bool:
    """Whether a request asks for a stream."""
    return b'"stream":true' in body or b'"stream": true' in body


def _whole(data: dict[str, Any]) -> bytes:
    body = msgspec.json.encode(data)
    return _HEAD % b"application/json" + b"content-length: %d\r\n\r\n" % len(body) + body


def _event(data: dict[str, Any] | None) -> bytes:
    text = b"[DONE]" if data is None else msgspec.json.encode(data)
    body = b"data: " + text + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(body), body)


def _chunk(index: int) -> bytes:
    last = index + 1 == CHUNKS
    delta = {"role": "assistant", "content": ""} if index == 0 else {"content": f" word{index}"}
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
    chunk = {**_COMMON, "object": "chat.completion.chunk", "choices": [choice]}
    if not last:
        return _event(chunk)
    choice["finish_reason"] = "stop"
    usage = {**chunk, "choices": [], "usage": _USAGE}
    return _event(chunk) + _event(usage) + _event(None) + b"0\r\n\r\n"


_COMMON = {"id": "chatcmpl-upstream", "created": 1, "model": MODEL}
_LISTED = {
    "id": MODEL,
    "object": "model",
    "created": 1,
    "owned_by": "benchmark",
    "max_model_len": 32768,
    "model_path": MODEL,
    "is_generation": True,
}
_MESSAGE = {"role": "assistant", "content": "".join(f" word{number}" for number in range(CHUNKS))}
_ANSWER = _whole(
    {
        **_COMMON,
        "object": "chat.completion",
        "choices": [{"index": 0, "message": _MESSAGE, "finish_reason": "stop"}],
        "usage": _USAGE,
    }
)
_STREAM_HEAD = _HEAD % b"text/event-stream" + b"transfer-encoding: chunked\r\n\r\n"
_CHUNKS = [_chunk(index) for index in range(CHUNKS)]


if __name__ == "__main__":
    main()
