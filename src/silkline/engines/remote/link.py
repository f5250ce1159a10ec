"""HTTP connections to a remote server; no other code of the engines opens connections.

The operator sets the address, so it may be private; nothing that a client sends is part of it.
Redirects are not followed, since they would send the key, the text and the images elsewhere.
Proxies from the environment, cookies and compressed bodies are not used.
"""

from __future__ import annotations

import asyncio
import io
import socket as sockets
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, suppress
from pathlib import Path

import aiohttp
from aiohttp import hdrs
from aiohttp.client_exceptions import UnixClientConnectorError
from aiohttp.client_proto import ResponseHandler
from aiohttp.tracing import Trace

from silkline import __version__
from silkline.aio.http_response import ReadBy
from silkline.engines.remote.failures import lost, too_late
from silkline.engines.remote.steps import Steps
from silkline.errors import DeadlineExceeded, WorkerLost, not_running

CONNECT_SECONDS = 5.0
"""Maximum seconds to connect; a server that runs accepts at once."""

FIRST_PAUSE_SECONDS = 0.01
LONGEST_PAUSE_SECONDS = 0.16
"""Pause before connecting again to a unix socket whose backlog is full; doubles each time."""

KEEP_ALIVE_SECONDS = 4.0
"""Seconds that an idle connection is kept: fewer than the 5 s after which uvicorn, which vLLM and
SGLang use, closes it. A request on a connection that is just being closed would be lost."""

DRAIN_SECONDS = 0.1
"""Maximum seconds to wait for the end of a response after its last event."""

_ENDS_CONNECTIONS = "llama.cpp"
"""Prefix of the `Server` header of a server that closes the connection after a streamed answer,
although its headers keep it alive. A second request on it would be lost, so each gets a new one."""

_READ_BUFFER_BYTES = 64 * 1024
_MAX_REFUSAL_BYTES = 64 * 1024
_MAX_DOCUMENT_BYTES = 4 * 1024 * 1024
_OK = 200


class Reply:
    """A response whose body is read in chunks; each read has a time limit."""

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        deadline: float,
        steps: Steps,
        *,
        patient: bool = False,
    ) -> None:
        """Takes over a response.

        Args:
            response: The response, of which only the head was read.
            deadline: The request's deadline, by the event loop's clock.
            steps: Limits the time of each read.
            patient: Whether a sign of life of the server begins that time again.
        """
        self._response = response
        self._patient = patient
        self._deadline = deadline
        self._steps = steps

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self._response.status

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers; names are case-insensitive."""
        return self._response.headers

    @property
    def media_type(self) -> str:
        """The media type of the body, without parameters."""
        return self._response.content_type

    async def read(self) -> bytes:
        """The next chunk; empty at the end.

        Raises:
            WorkerLost: The connection broke, or nothing came for too long.
            DeadlineExceeded: The request's deadline has passed.
        """
        content = self._response.content
        if asyncio.get_running_loop().time() >= self._deadline:  # there may always be more
            raise too_late()
        if (
            not self._steps.ended
            and content.exception() is None
            and (data := content.read_nowait())
        ):
            return data
        async with self._steps.step(self._deadline, patient=self._patient):
            return await content.readany()

    async def drain(self) -> None:
        """Reads the rest of a body after its last event, so that the connection can be reused.

        If the server takes longer than `DRAIN_SECONDS`, the connection is not reused.
        """
        with suppress(WorkerLost, DeadlineExceeded):
            async with self._steps.step(self._deadline, DRAIN_SECONDS):
                while await self._response.content.readany():
                    pass

    async def head_of_body(self) -> bytes:
        """The first `_MAX_REFUSAL_BYTES` of a body that is not an answer. Raises as `read` does."""
        body = b""
        while len(body) < _MAX_REFUSAL_BYTES and (chunk := await self.read()):
            body += chunk
        return body[:_MAX_REFUSAL_BYTES]


class _TcpConnector(ReadBy, aiohttp.TCPConnector):
    """Connects to a host."""


class _UnixConnector(ReadBy, aiohttp.UnixConnector):
    """Connects to a unix socket; waits while the server's backlog is full.

    Where TCP would wait, a unix socket fails at once with EAGAIN (connect(2)); llama-server accepts
    in one thread, with a backlog of 512. asyncio takes EAGAIN for a connection in progress, so the
    request fails at its first write, when it is unknown whether it was sent; uvloop raises. So
    this class connects the socket itself.
    """

    async def _create_connection(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],  # noqa: ARG002 - aiohttp's own hook
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - the same
    ) -> ResponseHandler:
        """Connects within `timeout.sock_connect`; raises what aiohttp's own connectors raise.

        Raises:
            TimeoutError: The backlog stays full.
            UnixClientConnectorError: No server listens.
        """
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(timeout.sock_connect):
            try:
                connected = await self._connected_socket()
                _, protocol = await loop.create_unix_connection(self._factory, sock=connected)
            except OSError as error:
                raise UnixClientConnectorError(self.path, req.connection_key, error) from error
        return protocol

    async def _connected_socket(self) -> sockets.socket:
        """Returns a connected socket; retries while the backlog is full."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            with ExitStack() as on_failure:
                connection = on_failure.enter_context(sockets.socket(sockets.AF_UNIX))
                connection.setblocking(False)  # noqa: FBT003 - the standard library's
                with suppress(BlockingIOError):
                    connection.connect(self.path)
                    on_failure.pop_all()
                    return connection
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


class RemoteLink:
    """Connections to one server; lives in one event loop, between `open` and `aclose`."""

    def __init__(
        self, url: str, key: str | None, timeout: float, socket: Path | None = None
    ) -> None:
        """Takes the server's address; nothing is connected.

        Args:
            url: The server's root URL; paths are added to it.
            key: Its API key.
            timeout: Maximum seconds to wait for the next chunk of a response.
            socket: The unix socket that it listens on; None connects to the URL's host.
        """
        self._url = url
        self._key = key
        self._socket = socket
        self._steps = Steps(timeout)
        self._session: aiohttp.ClientSession | None = None
        self._no_keep_alive = False
        self.certificate_expiry: float | None = None
        """Unix time at which the server's TLS certificate expires; None while that is unknown."""

    def open(self) -> None:
        """Creates the connection pool; connects to nothing yet."""
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
        """A connector without a limit; the pool of replicas limits requests."""
        if self._socket is not None:
            return _UnixConnector(str(self._socket), limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS)
        return _TcpConnector(
            limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS, ssl=ssl.create_default_context()
        )

    async def aclose(self) -> None:
        """Closes all connections; requests in flight end with `WorkerLost`. Idempotent."""
        self._steps.end()
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def post(
        self,
        path: str,
        body: bytes,
        deadline: float,
        headers: Mapping[str, str],
        *,
        patient: bool = False,
    ) -> AbstractAsyncContextManager[Reply]:
        """Sends JSON; yields the response once its headers have come.

        Leaving the block closes the connection, unless the body was read completely.

        Args:
            path: The path after the root URL.
            body: The JSON.
            deadline: The request's deadline, by the event loop's clock.
            headers: More headers.
            patient: Whether each `heard` gives the server its full `timeout` again: a whole answer
                comes only when it is complete.

        Raises:
            WorkerLost: The server cannot be reached, closes the connection or sends nothing for too
                long.
            DeadlineExceeded: The request's deadline has passed.
            ShuttingDown: The link is closed.
        """
        headers = {**headers, hdrs.CONTENT_TYPE: "application/json"}
        return self._response("POST", path, deadline, headers, body, patient=patient)

    def heard(self) -> None:
        """Notes a sign of life of the server: an answer to a probe."""
        self._steps.heard()

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
        *,
        patient: bool = False,
    ) -> AsyncGenerator[Reply, None]:
        if self._session is None:
            raise not_running()
        if self._no_keep_alive:
            headers = {**headers, hdrs.CONNECTION: "close"}
        async with self._steps.step(deadline, patient=patient):
            response = await self._session.request(
                method,
                self._url + path,
                data=None if body is None else io.BytesIO(body),
                headers=headers,
                allow_redirects=False,
            )
        server = response.headers.get(hdrs.SERVER, "")
        self._no_keep_alive = self._no_keep_alive or server.startswith(_ENDS_CONNECTIONS)
        if body is None:  # a probe
            self._read_certificate(response)
        try:
            if response.headers.get(hdrs.CONTENT_ENCODING, "identity") != "identity":
                raise lost("sent a compressed body, which was not requested")
            yield Reply(response, deadline, self._steps, patient=patient)
        finally:
            response.close()  # closes the connection, unless the body was read completely

    def _read_certificate(self, response: aiohttp.ClientResponse) -> None:
        connection = response.connection
        transport = None if connection is None else connection.transport
        certificate = None if transport is None else transport.get_extra_info("peercert")
        if certificate:
            self.certificate_expiry = float(ssl.cert_time_to_seconds(certificate["notAfter"]))
