"""A network for tests of the fetcher: names that resolve as told, origins that behave as told."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from aiohttp.abc import AbstractResolver, ResolveResult

from silkline.ingress.allowance import Allowance

PUBLIC = "93.184.216.34"
PUBLIC_IPV6 = "2606:2800:220:1::1"


class Names(AbstractResolver):
    """Resolves names from a table; each look-up takes the next of a name's answers, in a circle."""

    def __init__(self, **answers: Sequence[Sequence[str]]) -> None:
        self.answers = {name.replace("_", "."): list(each) for name, each in answers.items()}
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        await asyncio.sleep(0)
        if host not in self.answers:
            raise OSError("no such name")
        answers = self.answers[host]
        addresses = answers[self.asked.count(host) % len(answers)]
        self.asked.append(host)
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)
            for address in addresses
        ]

    async def close(self) -> None:
        pass


@dataclass
class Hit:
    """A request as an origin saw it."""

    line: str
    headers: dict[str, str]


def within(max_bytes: int) -> Callable[[int], Awaitable[None]]:
    """Takes what a fetch receives from an allowance of so many bytes."""
    allowance = Allowance.of_bytes(max_bytes)

    async def received(count: int) -> None:
        allowance.take(count)

    return received


Respond = Callable[[Hit, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class RawOrigin:
    """A server that speaks exactly the bytes it is told to."""

    port: int = 0
    connections: int = 0
    hits: list[Hit] = field(default_factory=list)
    server_names: list[str | None] = field(default_factory=list)


@asynccontextmanager
async def raw_origin(
    respond: Respond,
    host: str | Sequence[str] = "127.0.0.1",
    tls: ssl.SSLContext | None = None,
    port: int = 0,
) -> AsyncIterator[RawOrigin]:
    """Runs an origin; it keeps connections open as long as `respond` does.

    Its port is a free one where none is given.
    """
    origin = RawOrigin()
    if tls is not None:
        tls.sni_callback = lambda _socket, name, _context: origin.server_names.append(name)

    serving: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        origin.connections += 1
        serving.add(asyncio.current_task())
        gone = (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError)
        with suppress(*gone):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                line, *rest = head.strip().split("\r\n")
                headers = dict(one.split(": ", 1) for one in rest)
                hit = Hit(line, {name.lower(): value for name, value in headers.items()})
                origin.hits.append(hit)
                await respond(hit, writer)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, host, port, ssl=tls)
    origin.port = server.sockets[0].getsockname()[1]
    try:
        yield origin
    finally:
        server.close()
        tasks = [task for task in serving if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def says(head: str, body: bytes = b"") -> Respond:
    """Answers with fixed bytes; `head` has its lines parted by `\\n`."""

    async def respond(hit: Hit, writer: asyncio.StreamWriter) -> None:
        writer.write(head.strip().replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n" + body)

    return respond


def gives(body: bytes, *headers: str) -> Respond:
    """Answers 200 with a body and its true length."""
    return says("\n".join(["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers]), body)


def redirects(location: str, status: int = 302) -> Respond:
    """Redirects."""
    return says(f"HTTP/1.1 {status} Moved\nContent-Length: 0\nLocation: {location}")
