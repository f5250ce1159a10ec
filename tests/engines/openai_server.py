"""Small OpenAI-compatible servers for tests: what they send is scripted byte by byte."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from silkline.core import Delta
from silkline.engines.base import Engine, EngineOptions
from silkline.engines.remote import create_engine
from silkline.errors import SilklineError, http_face
from tests.engines.openai_words import content_of, logprobs_of, request_of, usage_of

LISTING: dict[str, Any] = {
    "object": "list",
    "data": [{"id": "org/model", "object": "model", "root": "/models/m", "max_model_len": 4096}],
}


class Cut(Exception):
    """Raised by a script: the connection is reset here."""


@dataclass(frozen=True)
class Received:
    """A request that came."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


Script = Callable[[Received], AsyncIterator[bytes]]


@dataclass
class OpenAiServer:
    """A server.

    Attributes:
        script: What is sent, head included, for each completion that is asked for.
        listing: What `/v1/models` says; None refuses with 401.
        properties: What other paths say, or their status; those that are not in it say what
            `/v1/models` does.
        received: The completions that were asked for.
        open: Connections that are open.
        connections: Connections so far.
        left: Replies that the client did not wait for.
    """

    script: Script
    listing: Any = field(default_factory=lambda: LISTING)
    properties: dict[str, Any] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)
    url: str = ""
    open: int = 0
    connections: int = 0
    left: int = 0
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            while (received := await _read(reader)) is not None:
                await self._reply(received, reader, writer)
        except Cut:
            writer.transport.abort()
        except ConnectionError:
            self.left += 1
        except asyncio.CancelledError:  # the test is over
            writer.transport.abort()
        finally:
            self.tasks.discard(task)
            self.open -= 1
            writer.close()

    async def _reply(
        self, received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if received.method == "GET":
            body = self.properties.get(received.path, self.listing)
            status = body if isinstance(body, int) else 401 if body is None else 200
            writer.write(whole(status, body if status == 200 else b"{}"))
            return
        self.received.append(received)
        leaving = asyncio.create_task(reader.read(1))
        try:
            async with aclosing(self.script(received)) as pieces:  # type: ignore[type-var]
                while (data := await _unless(leaving, anext(pieces, None))) is not None:
                    writer.write(data)
                    await writer.drain()
        finally:
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)


async def _unless(leaving: asyncio.Task[bytes], work: Awaitable[bytes | None]) -> bytes | None:
    """The work's result. Raises `ConnectionError` when the client leaves first."""
    working = asyncio.ensure_future(work)
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ConnectionError
        return working.result()
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


@asynccontextmanager
async def openai_server(
    script: Script, listing: Any = LISTING, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[OpenAiServer, None]:
    """Runs a server on a free loopback port."""
    server = OpenAiServer(script, listing)
    listener = await asyncio.start_server(
        server.serve, "127.0.0.1", 0, limit=64 * 1024 * 1024, ssl=tls
    )
    scheme = "http" if tls is None else "https"
    server.url = f"{scheme}://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listener.close()
        for task in server.tasks:
            task.cancel()
        await asyncio.gather(*server.tasks)


async def _read(reader: asyncio.StreamReader) -> Received | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    except asyncio.IncompleteReadError:
        return None
    method, path, _ = head[0].split(" ")
    headers = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(":") for line in head[1:] if line)
    }
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Received(method, path, headers, json.loads(body) if body else None)


def whole(status: int, body: Any, *headers: str) -> bytes:
    """A response in one piece."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} x", "content-type: application/json", *headers]
    lines += [f"content-length: {len(data)}", "", ""]
    return "\r\n".join(lines).encode() + data


STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
STREAM_END = b"0\r\n\r\n"


def piece(data: bytes) -> bytes:
    """A piece of a chunked body."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def event(data: Any, end: str = "\n") -> bytes:
    """One event, as a piece of a chunked body."""
    text = data if isinstance(data, str) else json.dumps(data)
    return piece(f"data: {text}{end}{end}".encode())


def chunk(delta: dict[str, Any] | None, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    """A chunk of a completion; without a delta it has no choices."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    common = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "org/model"}
    return {**common, "choices": choices, **fields}


def scripted(*pieces: bytes | float | type[Cut]) -> Script:
    """A script that sends these, with pauses of so many seconds."""

    async def script(received: Received) -> AsyncIterator[bytes]:
        for each in pieces:
            if isinstance(each, bytes):
                yield each
            elif isinstance(each, float):
                await asyncio.sleep(each)
            else:
                raise each

    return script


def computed(engine: Engine, dialect: str) -> Script:
    """A script that answers as an engine does, in the dialect of `vllm`, `sglang` or `llama`."""

    async def script(received: Received) -> AsyncIterator[bytes]:
        try:
            asking = request_of(received.body, dialect)
            async with aclosing(engine.generate(asking)) as deltas:
                first = await anext(deltas)
                yield STREAM_HEAD
                yield _opening(dialect)
                yield _said(dialect, first)
                async for delta in deltas:
                    yield _said(dialect, delta)
            yield event("[DONE]") + STREAM_END
        except SilklineError as error:
            yield _refused(dialect, http_face(error).status)

    return script


def _opening(dialect: str) -> bytes:
    role = {"role": "assistant", "content": None if dialect == "llama" else ""}
    beat = piece(b": keep-alive\r\n\r\n") if dialect == "llama" else b""
    return beat + event(chunk(role), "\r\n" if dialect == "llama" else "\n")


def _said(dialect: str, delta: Delta) -> bytes:
    end = "\r\n" if dialect == "llama" else "\n"
    extra = {"usage": None} if dialect == "sglang" else {}
    data = b""
    if content := content_of(delta, dialect):
        told = chunk(content, **extra)
        told["choices"][0]["logprobs"] = logprobs_of(delta.logprobs)
        data = event(told, end)
    if delta.finish_reason is None or delta.usage is None:
        return data
    empty: dict[str, Any] = {} if dialect == "llama" else {"content": ""}
    data += event(chunk(empty, delta.finish_reason.value, **extra), end)
    return data + event(chunk(None, usage=usage_of(delta.usage)), end)


def _refused(dialect: str, status: int) -> bytes:
    error = {"message": "secret /srv/model at 10.0.0.1", "type": "Bad", "code": status}
    return whole(status, {"object": "error", **error} if dialect == "sglang" else {"error": error})


@asynccontextmanager
async def asked(
    script: Script, listing: Any = None, **extra: str
) -> AsyncGenerator[tuple[Engine, OpenAiServer], None]:
    """An engine that has started against a server of such a script."""
    async with openai_server(script, **({} if listing is None else {"listing": listing})) as server:
        engine = create_engine(EngineOptions(extra={"url": server.url, **extra}))
        async with aclosing(engine):
            await engine.start()
            yield engine, server
