"""HTTP to a remote server; no other code of the engines opens connections.

The operator sets the address, so it may be private; nothing that a client sends is part of it.
Redirects are not followed, since they would send the key, the text and the images elsewhere.
Proxies from the environment, cookies and compressed bodies are not used.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import quote, urlsplit

from silkline import __version__
from silkline.engines.remote.connection import Connection
from silkline.engines.remote.connections import Connections
from silkline.engines.remote.failures import lost, too_late
from silkline.engines.remote.steps import Steps
from silkline.errors import DeadlineExceeded, WorkerLost, not_running

DRAIN_SECONDS = 0.1
"""Maximum seconds to wait for the end of a response after its last event."""

_ENDS_CONNECTIONS = "llama.cpp"
"""Prefix of the `Server` header of a server that closes the connection after a streamed answer,
although its headers keep it alive. A second request on it would be lost, so each gets a new one."""

_IN_A_PATH = "/%:@!$&'()*+,;=~"
_MAX_REFUSAL_BYTES = 64 * 1024
_MAX_DOCUMENT_BYTES = 4 * 1024 * 1024
_OK = 200


class Reply:
    """A response whose body is read in chunks; each read has a time limit."""

    def __init__(
        self, connection: Connection, deadline: float, steps: Steps, *, patient: bool = False
    ) -> None:
        """Takes over a response.

        Args:
            connection: The connection, on which only the head was read.
            deadline: The request's deadline, by the event loop's clock.
            steps: Limits the time of each read.
            patient: Whether a sign of life of the server begins that time again.
        """
        self._connection = connection
        self._patient = patient
        self._deadline = deadline
        self._steps = steps

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self._connection.status

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers by their lower-case names."""
        return self._connection.headers

    @property
    def media_type(self) -> str:
        """The media type of the body in lower case, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    async def read(self) -> bytes:
        """The next chunk; empty at the end.

        Raises:
            WorkerLost: The connection broke, or nothing came for too long.
            DeadlineExceeded: The request's deadline has passed.
        """
        if asyncio.get_running_loop().time() >= self._deadline:  # there may always be more
            raise too_late()
        if not self._steps.ended:
            data = self._connection.read_nowait()
            if data or self._connection.complete:
                return data
        async with self._steps.step(self._deadline, patient=self._patient):
            return await self._connection.read()

    async def drain(self) -> None:
        """Reads the rest of a body after its last event, so that the connection can be reused.

        If the server takes longer than `DRAIN_SECONDS`, the connection is not reused.
        """
        with suppress(WorkerLost, DeadlineExceeded):
            async with self._steps.step(self._deadline, DRAIN_SECONDS):
                while await self._connection.read():
                    pass

    async def head_of_body(self) -> bytes:
        """The first `_MAX_REFUSAL_BYTES` of a body that is not an answer. Raises as `read` does."""
        body = b""
        while len(body) < _MAX_REFUSAL_BYTES and (chunk := await self.read()):
            body += chunk
        return body[:_MAX_REFUSAL_BYTES]


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
        self._socket = socket
        self._steps = Steps(timeout)
        self._connections: Connections | None = None
        self._closes = False
        parts = urlsplit(url)
        self._root = quote(parts.path, safe=_IN_A_PATH)
        host = parts.netloc if parts.netloc.isascii() else parts.netloc.encode("idna").decode()
        self._headers = {
            "host": host,
            "user-agent": f"silkline/{__version__}",
            "accept-encoding": "identity",
        }
        if key is not None:
            self._headers["authorization"] = f"Bearer {key}"
        self.certificate_expiry: float | None = None
        """Unix time at which the server's TLS certificate expires; None while that is unknown."""

    def open(self) -> None:
        """Makes the link usable; connects to nothing yet."""
        if self._connections is None:
            self._connections = Connections(self._url, self._socket)

    async def aclose(self) -> None:
        """Closes all connections; requests in flight end with `WorkerLost`. Idempotent."""
        self._steps.end()
        connections, self._connections = self._connections, None
        if connections is not None:
            connections.close()

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
        headers = {**headers, "content-type": "application/json"}
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
        connections = self._connections
        if connections is None:
            raise not_running()
        head = self._head(method, path, headers, body)
        async with self._steps.step(deadline, patient=patient):
            connection = await connections.send(head, body or b"", again=body is None)
        try:
            server = connection.headers.get("server", "")
            self._closes = self._closes or server.startswith(_ENDS_CONNECTIONS)
            if body is None:  # a probe
                self._read_certificate(connection)
            if connection.headers.get("content-encoding", "identity") != "identity":
                raise lost("sent a compressed body, which was not requested")
            yield Reply(connection, deadline, self._steps, patient=patient)
        finally:
            connections.give_back(connection)

    def _head(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> bytes:
        """The head of a request.

        Raises:
            ValueError: A header has a line break.
        """
        lines = [f"{method} {self._root}{path} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in (*self._headers.items(), *headers.items())]
        if body is not None:
            lines.append(f"content-length: {len(body)}")
        if self._closes:
            lines.append("connection: close")
        if any("\n" in line or "\r" in line for line in lines):
            raise ValueError("a header of a request to a remote server has a line break")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def _read_certificate(self, connection: Connection) -> None:
        if certificate := connection.certificate:
            self.certificate_expiry = float(ssl.cert_time_to_seconds(certificate["notAfter"]))
