"""A TCP proxy that spoils what goes through it, after the toxics of Shopify's toxiproxy.

Each direction has its own toxics, which may be changed while connections live:

    async with fault_proxy(port) as proxy:
        proxy.down = Toxics(latency_seconds=0.2, slice_bytes=7)
        ...
        proxy.reset_all()
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum

_CHUNK_BYTES = 16 * 1024
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 s


class Ending(StrEnum):
    """What happens to a connection when a direction has carried its `limit_bytes`."""

    CLOSE = "close"
    RESET = "reset"
    HALF_CLOSE = "half-close"


@dataclass(frozen=True, slots=True)
class Toxics:
    """What one direction suffers; the default is nothing.

    Attributes:
        latency_seconds: Every piece is held back for so long.
        jitter_seconds: And for up to so much longer, by the proxy's seed.
        bytes_per_second: Bandwidth; None does not limit it.
        slice_bytes: Pieces are cut to at most so many bytes; None leaves them.
        black_hole: Nothing passes, nothing closes, until the toxics change.
        limit_bytes: After so many bytes of a connection comes its `ending`; None for never.
        ending: See `limit_bytes`.
        close_delay_seconds: How long the end of the stream is kept from the other side.
    """

    latency_seconds: float = 0.0
    jitter_seconds: float = 0.0
    bytes_per_second: float | None = None
    slice_bytes: int | None = None
    black_hole: bool = False
    limit_bytes: int | None = None
    ending: Ending = Ending.CLOSE
    close_delay_seconds: float = 0.0


class FaultProxy:
    """Connections from clients to one server; see the module."""

    def __init__(self, server: tuple[str, int], seed: int) -> None:
        self._server = server
        self._chance = random.Random(seed)
        self._toxics = {"up": Toxics(), "down": Toxics()}
        self._changed = asyncio.Event()
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        """Where clients connect."""
        self.cut: set[int] = set()
        """The client-side ports of all connections that the proxy has broken."""
        self.connections = 0
        """How many connections were made so far."""

    @property
    def up(self) -> Toxics:
        """From the clients to the server."""
        return self._toxics["up"]

    @up.setter
    def up(self, toxics: Toxics) -> None:
        self._set("up", toxics)

    @property
    def down(self) -> Toxics:
        """From the server to the clients."""
        return self._toxics["down"]

    @down.setter
    def down(self, toxics: Toxics) -> None:
        self._set("down", toxics)

    def reset_all(self) -> None:
        """Breaks every connection with a RST to both sides."""
        for link in tuple(self._links):
            self._break(link)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Takes one connection; called by asyncio's server."""
        task = asyncio.create_task(self._carry(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            to_server = await asyncio.open_connection(*self._server)
        except OSError:
            writer.close()
            return
        link = _Link(writer, to_server[1])
        self._links.add(link)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump("up", reader, to_server[1], link))
                group.create_task(self._pump("down", to_server[0], writer, link))
        finally:
            self._links.discard(link)
            link.close()

    async def aclose(self) -> None:
        """Breaks what is left."""
        self.reset_all()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _set(self, direction: str, toxics: Toxics) -> None:
        self._toxics[direction] = toxics
        self._changed.set()
        self._changed = asyncio.Event()

    async def _pump(
        self,
        direction: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        link: _Link,
    ) -> None:
        carried = 0
        with suppress(OSError):
            while data := await reader.read(_CHUNK_BYTES):
                for piece in self._pieces(direction, data):
                    await self._delay(direction, len(piece))
                    toxics = self._toxics[direction]
                    room = len(piece)
                    if toxics.limit_bytes is not None:
                        room = max(0, toxics.limit_bytes - carried)
                    writer.write(piece[:room])
                    await writer.drain()
                    carried += room
                    if room < len(piece):
                        self._end(toxics.ending, writer, link)
                        return
            await asyncio.sleep(self._toxics[direction].close_delay_seconds)
            if not writer.is_closing():
                writer.write_eof()

    def _pieces(self, direction: str, data: bytes) -> list[bytes]:
        size = self._toxics[direction].slice_bytes or len(data)
        return [data[place : place + size] for place in range(0, len(data), size)]

    async def _delay(self, direction: str, size: int) -> None:
        while self._toxics[direction].black_hole:
            await self._changed.wait()
        toxics = self._toxics[direction]
        seconds = toxics.latency_seconds + self._chance.random() * toxics.jitter_seconds
        if toxics.bytes_per_second is not None:
            seconds += size / toxics.bytes_per_second
        if seconds:
            await asyncio.sleep(seconds)

    def _end(self, ending: Ending, writer: asyncio.StreamWriter, link: _Link) -> None:
        if ending is Ending.RESET:
            self._break(link)
            return
        self.cut.add(link.client_port)
        if ending is Ending.HALF_CLOSE:
            writer.write_eof()
        else:
            link.close()

    def _break(self, link: _Link) -> None:
        self.cut.add(link.client_port)
        link.reset()


class _Link:
    """Both sides of one connection."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self._sides = (client, server)
        self.client_port: int = client.get_extra_info("peername")[1]

    def close(self) -> None:
        for side in self._sides:
            side.close()

    def reset(self) -> None:
        for side in self._sides:
            connection = side.get_extra_info("socket")
            if not side.is_closing():
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            side.transport.abort()


@asynccontextmanager
async def fault_proxy(
    port: int, *, host: str = "127.0.0.1", seed: int = 0
) -> AsyncGenerator[FaultProxy, None]:
    """A proxy on a free loopback port in front of the server at a port."""
    proxy = FaultProxy((host, port), seed)
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.aclose()
        await server.wait_closed()
