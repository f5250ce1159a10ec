"""The connections to one remote server: opened when they are needed, and used again."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import urlsplit

from aiohappyeyeballs import start_connection

from silkline.engines.remote.connection import Connection

CONNECT_SECONDS = 5.0
"""Maximum seconds to connect; a server that runs accepts at once."""

FIRST_PAUSE_SECONDS = 0.01
LONGEST_PAUSE_SECONDS = 0.16
"""Pause before connecting again to a unix socket whose backlog is full; doubles each time."""

KEEP_ALIVE_SECONDS = 4.0
"""Seconds that an idle connection is kept: fewer than the 5 s after which uvicorn, which vLLM and
SGLang use, closes it. A request on a connection that is just being closed would be lost."""

_NEXT_ADDRESS_SECONDS = 0.25
"""After this long, a second address of a host is tried beside the first (RFC 8305)."""


class Connections:
    """The connections to one server; without a limit, as the pool of replicas limits requests."""

    def __init__(self, url: str, path: Path | None = None) -> None:
        """Connects to nothing yet.

        Args:
            url: The server's URL, of which scheme, host and port count.
            path: The unix socket that it listens on; None connects to the URL's host.
        """
        parts = urlsplit(url)
        tls = parts.scheme == "https"
        self._tls = ssl.create_default_context() if tls else None
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if tls else 80)
        self._path = path
        self._idle: deque[Connection] = deque()
        self._open: set[Connection] = set()

    async def send(self, *data: bytes, again: bool = False) -> Connection:
        """Sends a request; returns its connection once the head of the answer has come.

        The caller gives the connection back.

        Args:
            data: The request.
            again: Whether it may be sent twice: a server may close a connection that was idle at
                the moment in which it is used again.

        Raises:
            OSError: The server cannot be reached, or closed the connection.
        """
        connection = self._take()
        reused = connection is not None
        connection = connection or await self._connect()
        try:
            await connection.send(*data)
        except BaseException as error:
            self.give_back(connection)
            if isinstance(error, ConnectionError) and reused and again:
                return await self.send(*data)
            raise
        return connection

    def give_back(self, connection: Connection) -> None:
        """Keeps a connection for the next request; closes it if the answer was not complete."""
        if connection.usable and connection in self._open:
            connection.idle_since = asyncio.get_running_loop().time()
            self._idle.append(connection)
        else:
            self._drop(connection)

    def close(self) -> None:
        """Closes all connections, also those in use."""
        for connection in tuple(self._open):
            self._drop(connection)
        self._idle.clear()

    def _take(self) -> Connection | None:
        """The connection that was used last, if it is not too old; closes those that are."""
        oldest = asyncio.get_running_loop().time() - KEEP_ALIVE_SECONDS
        while self._idle and self._idle[0].idle_since < oldest:
            self._drop(self._idle.popleft())
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
            self._drop(connection)
        return None

    def _drop(self, connection: Connection) -> None:
        self._open.discard(connection)
        connection.close()

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(CONNECT_SECONDS):
            connected = await (self._dial() if self._path is None else _dial_path(self._path))
        try:
            if self._path is not None:
                _, connection = await loop.create_unix_connection(Connection, sock=connected)
            else:
                _, connection = await loop.create_connection(
                    Connection,
                    sock=connected,
                    ssl=self._tls,
                    server_hostname=self._host if self._tls else None,
                )
        except BaseException:
            connected.close()
            raise
        self._open.add(connection)
        return connection

    async def _dial(self) -> socket.socket:
        loop = asyncio.get_running_loop()
        addresses = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        connected = await start_connection(addresses, happy_eyeballs_delay=_NEXT_ADDRESS_SECONDS)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return connected


async def _dial_path(path: Path) -> socket.socket:
    """Returns a socket that is connected to a unix socket; waits while the backlog is full.

    Where TCP would wait, a unix socket fails at once with EAGAIN (connect(2)); llama-server accepts
    in one thread, with a backlog of 512. asyncio takes EAGAIN for a connection in progress, so the
    request would fail at its first write; uvloop raises.
    """
    pause = FIRST_PAUSE_SECONDS
    while True:
        with ExitStack() as on_failure:
            connection = on_failure.enter_context(socket.socket(socket.AF_UNIX))
            connection.setblocking(False)  # noqa: FBT003 - the standard library's
            with suppress(BlockingIOError):
                connection.connect(str(path))
                on_failure.pop_all()
                return connection
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
