"""The way to a remote server: the only place in the engines that opens connections.

The address is the operator's, so it may be private; nothing that a client sends takes part in it.
Redirects are not followed: one would carry the key, the text and the pictures elsewhere. No
proxies of the environment, no cookies, no compressed bodies.
"""

from __future__ import annotations

import asyncio
import io
import socket as sockets
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path

import aiohttp
from aiohttp import hdrs
from aiohttp.client_exceptions import UnixClientConnectorError
from aiohttp.client_proto import ResponseHandler
from aiohttp.tracing import Trace

from silkline import __version__
from silkline.aio.http_response import ReadBy
from silkline.engines.remote.failures import lost, too_late
from silkline.errors import DeadlineExceeded, WorkerLost, not_running

CONNECT_SECONDS = 5.0
"""What connecting may take; a server that is there is connected to at once."""

FIRST_PAUSE_SECONDS = 0.01
LONGEST_PAUSE_SECONDS = 0.16
"""Before a unix socket is tried again whose queue of new connections is full; it doubles."""

KEEP_ALIVE_SECONDS = 4.0
"""How long an idle connection is kept: less than the 5 s after which uvicorn, which vLLM and SGLang
run on, closes it. A request that meets a connection just being closed would be lost."""

DRAIN_SECONDS = 0.1
"""What the end of a response may take after its last event."""

_ENDS_CONNECTIONS = "llama.cpp"
"""How a server calls itself that ends a connection after a streamed answer, although it says that
the connection stays: a second request on it is lost. It gets a new one for each."""

_READ_BUFFER_BYTES = 64 * 1024
_MAX_REFUSAL_BYTES = 64 * 1024
_MAX_DOCUMENT_BYTES = 4 * 1024 * 1024
_OK = 200


class _Steps:
    """Holds each step on the network to its time, gives its failure a name, and can end them all.

    aiohttp leaves those who read from a connection waiting when the session is closed.
    """

    def __init__(self, patience: float) -> None:
        """Takes the seconds that a step may take, whatever its request's deadline is."""
        self._patience = patience
        self._running: set[asyncio.Timeout] = set()
        self._ended = False

    @asynccontextmanager
    async def step(
        self, deadline: float, patience: float | None = None
    ) -> AsyncGenerator[None, None]:
        """Runs one step.

        Raises:
            WorkerLost: The connection broke, nothing came for too long, or all steps were ended.
            DeadlineExceeded: The request's time is over.
        """
        if self._ended:
            raise self._lost()
        loop = asyncio.get_running_loop()
        limit = loop.time() + (self._patience if patience is None else patience)
        timeout = asyncio.timeout_at(min(deadline, limit))
        self._running.add(timeout)
        try:
            async with timeout:
                yield
        except TimeoutError as error:
            if self._ended:
                raise self._lost() from error
            if loop.time() >= deadline:
                raise too_late() from error
            raise lost("said nothing for too long") from error
        except (aiohttp.ClientError, OSError) as error:
            raise lost("cannot be reached, or broke off") from error
        finally:
            self._running.discard(timeout)

    def _lost(self) -> WorkerLost:
        return lost("is no longer used")

    def end(self) -> None:
        """Ends the steps that run, and with them their requests."""
        self._ended = True
        now = asyncio.get_running_loop().time()
        for timeout in tuple(self._running):
            timeout.reschedule(now)


class Reply:
    """A response whose body is read piece by piece, each within its time."""

    def __init__(self, response: aiohttp.ClientResponse, deadline: float, steps: _Steps) -> None:
        """Takes over a response.

        Args:
            response: The response, of which only the head was read.
            deadline: When the request's time is over, by the event loop's clock.
            steps: Holds each piece to its time.
        """
        self._response = response
        self._deadline = deadline
        self._steps = steps

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self._response.status

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, whose names are found in any case."""
        return self._response.headers

    @property
    def media_type(self) -> str:
        """The type of the body, without parameters."""
        return self._response.content_type

    async def read(self) -> bytes:
        """The next piece; empty at the end.

        Raises:
            WorkerLost: The connection broke, or nothing came for too long.
            DeadlineExceeded: The request's time is over.
        """
        async with self._steps.step(self._deadline):
            return await self._response.content.readany()

    async def drain(self) -> None:
        """Reads the end of a body of which everything that counts has come.

        Only then the connection can be used again; a server that takes its time loses it.
        """
        with suppress(WorkerLost, DeadlineExceeded):
            async with self._steps.step(self._deadline, DRAIN_SECONDS):
                while await self._response.content.readany():
                    pass

    async def head_of_body(self) -> bytes:
        """The beginning of a body that is no answer. Raises as `read` does."""
        body = b""
        while len(body) < _MAX_REFUSAL_BYTES and (chunk := await self.read()):
            body += chunk
        return body[:_MAX_REFUSAL_BYTES]


class _TcpConnector(ReadBy, aiohttp.TCPConnector):
    """Connects to a host."""


class _UnixConnector(ReadBy, aiohttp.UnixConnector):
    """Waits for room in the server's queue.

    Where TCP would wait, a unix socket fails at once, with EAGAIN (connect(2)); llama-server, whose
    one thread accepts, queues 512. asyncio takes that for a connection under way, so that the
    request fails at its first write, when nobody can tell any more whether it was sent; uvloop
    gives up. So the socket is connected here.
    """

    async def _create_connection(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],  # noqa: ARG002 - aiohttp's own hook
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - the same
    ) -> ResponseHandler:
        """Connects, within the time for that. What it raises is what aiohttp's own connectors do.

        Raises:
            TimeoutError: The queue stays full.
            UnixClientConnectorError: Nobody listens.
        """
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(timeout.sock_connect):
            try:
                connected = await self._connected()
                _, protocol = await loop.create_unix_connection(self._factory, sock=connected)
            except OSError as error:
                raise UnixClientConnectorError(self.path, req.connection_key, error) from error
        return protocol

    async def _connected(self) -> sockets.socket:
        """A socket that is connected, which is now or never."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            with ExitStack() as failing:
                one = failing.enter_context(sockets.socket(sockets.AF_UNIX))
                one.setblocking(False)  # noqa: FBT003 - the standard library's
                with suppress(BlockingIOError):
                    one.connect(self.path)
                    failing.pop_all()
                    return one
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


class RemoteLink:
    """Connections to one server; lives in one event loop, between `open` and `aclose`."""

    def __init__(
        self, url: str, key: str | None, patience: float, socket: Path | None = None
    ) -> None:
        """Describes the way.

        Args:
            url: The server's base URL, up to `/v1`.
            key: Its API key.
            patience: Seconds to wait for a piece of a response.
            socket: The unix socket that it listens on; None for one that is reached by its URL.
        """
        self._url = url
        self._key = key
        self._socket = socket
        self._steps = _Steps(patience)
        self._session: aiohttp.ClientSession | None = None
        self._one_each = False

    def open(self) -> None:
        """Makes the pool of connections; connects to nothing yet."""
        if self._session is not None:
            return
        headers = {
            hdrs.USER_AGENT: f"silkline/{__version__}",
            hdrs.ACCEPT_ENCODING: "identity",
        }
        if self._key is not None:
            headers[hdrs.AUTHORIZATION] = f"Bearer {self._key}"
        self._session = aiohttp.ClientSession(
            connector=self._connector(),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=headers,
            auto_decompress=False,
            trust_env=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
            read_bufsize=_READ_BUFFER_BYTES,
        )

    def _connector(self) -> aiohttp.BaseConnector:
        """Without a limit: the pool limits requests."""
        if self._socket is not None:
            return _UnixConnector(str(self._socket), limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS)
        return _TcpConnector(
            limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS, ssl=ssl.create_default_context()
        )

    async def aclose(self) -> None:
        """Closes all connections; what still runs on them is lost. Twice is the same as once."""
        self._steps.end()
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    @asynccontextmanager
    async def post(
        self, path: str, body: bytes, deadline: float, headers: Mapping[str, str]
    ) -> AsyncGenerator[Reply, None]:
        """Sends JSON, and gives the response once its head has come.

        Leaving the block closes the connection, unless the body was read to its end.

        Raises:
            WorkerLost: The server is not reached, breaks off or says nothing for too long.
            DeadlineExceeded: The request's time is over.
            ShuttingDown: The link is closed.
        """
        kind: dict[str, str] = {
            hdrs.CONTENT_TYPE: "application/json",
            hdrs.ACCEPT: "text/event-stream",
        }
        async with self._response("POST", path, deadline, {**headers, **kind}, body) as reply:
            yield reply

    async def get(self, path: str, seconds: float) -> tuple[int, bytes]:
        """The status and the body of a small document. Raises as `post` does."""
        deadline = asyncio.get_running_loop().time() + seconds
        async with self._response("GET", path, deadline, {}, None) as reply:
            if reply.status != _OK:
                return reply.status, b""
            body = b""
            while chunk := await reply.read():
                body += chunk
                if len(body) > _MAX_DOCUMENT_BYTES:
                    raise lost("lists too many models")
            return reply.status, body

    @asynccontextmanager
    async def _response(
        self,
        method: str,
        path: str,
        deadline: float,
        headers: Mapping[str, str],
        body: bytes | None,
    ) -> AsyncGenerator[Reply, None]:
        if self._session is None:
            raise not_running()
        if self._one_each:
            headers = {**headers, hdrs.CONNECTION: "close"}
        async with self._steps.step(deadline):
            response = await self._session.request(
                method,
                self._url + path,
                data=None if body is None else io.BytesIO(body),
                headers=headers,
                allow_redirects=False,
            )
        called = response.headers.get(hdrs.SERVER, "")
        self._one_each = self._one_each or called.startswith(_ENDS_CONNECTIONS)
        try:
            if response.headers.get(hdrs.CONTENT_ENCODING, "identity") != "identity":
                raise lost("sent a compressed body although asked not to")
            yield Reply(response, deadline, self._steps)
        finally:
            response.close()  # at once; where the body was read whole, the connection lives on
