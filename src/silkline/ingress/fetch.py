"""The image fetcher: only this module opens connections to hosts that a client named.

Each hop is parsed once (`urls`), resolved once, and refused if any of its addresses is not public.
The fetcher connects to the very addresses that were checked, so DNS rebinding between check and
connect has no effect. `Host` and SNI keep the name. Redirects are followed here and not by aiohttp,
and each goes through the same checks. The address is checked once more when its socket is created.

Connections are reused, keyed by scheme, host and port. This does not bypass the check: a pooled
connection leads to the address that was checked when it was opened, whatever the name resolves to
now. Hosts that the operator allows to be private have a separate pool without address checks.

Tenants share the connections and the resolver threads fairly (`fair_pool`), so an origin or name
server that hangs delays only the tenants that named it.

No cookies, no proxies, no credentials, no environment variables. Compressed bodies are refused and
other data is limited, so that nearly every byte read counts towards the size limit.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import hdrs
from aiohttp.abc import AbstractResolver, ResolveResult

from silkline import __version__
from silkline.aio.fair_pool import FairPool
from silkline.aio.http_response import ReadBy, Response
from silkline.config import FetchSettings
from silkline.errors import (
    DeadlineExceeded,
    ImageFetchFailed,
    InternalFault,
    UrlBlocked,
)
from silkline.ingress.freshness import fresh_seconds
from silkline.ingress.lifespan import Lifespan
from silkline.ingress.source import too_many_bytes
from silkline.ingress.urls import HostRules, ImageAddress, check_public, follow

Resolver = AbstractResolver
"""Resolves a host name to addresses."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_OK = 200
_CONNECTIONS = 512
_READ_BUFFER_BYTES = 64 * 1024
_RESOLVER_THREADS = 32
_MAX_BESIDES_BYTES = 512 * 1024
"""Maximum bytes of a response besides its body and once more the body's length.

The head of a response is far shorter."""

_HEADERS = {
    hdrs.USER_AGENT: f"silkline/{__version__}",
    hdrs.ACCEPT: "image/avif,image/webp,image/*;q=0.9,*/*;q=0.5",
    hdrs.ACCEPT_ENCODING: "identity",
}


_scope: ContextVar[bytes] = ContextVar("silkline_fetch_scope", default=b"")
"""The scope of the fetch that the running task does. aiohttp passes no argument to a resolver."""

Received = Callable[[int], Awaitable[None]]
"""Called with the size of each body chunk in bytes; the next chunk is read when it returns."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """An encoded image.

    Attributes:
        data: Its bytes.
        fresh_until: When the response stops being fresh for its URL, by `time.monotonic`.
    """

    data: bytes = field(repr=False)
    fresh_until: float


class Fetcher(Lifespan):
    """Fetches images by URL. Use it in one event loop, between `start` and `aclose`."""

    def __init__(self, settings: FetchSettings, resolver: Resolver | None = None) -> None:
        """Reads the host rules; opens nothing yet.

        Args:
            settings: Limits and host rules.
            resolver: Resolves host names; the system's resolver by default. Its addresses are
                always checked. The fetcher closes it.

        Raises:
            ConfigError: A host in the settings is malformed.
        """
        self._settings = settings
        self._rules = HostRules(settings)
        self._resolver = resolver
        self._public: aiohttp.ClientSession | None = None
        self._private: aiohttp.ClientSession | None = None
        self._slots = FairPool(range(_CONNECTIONS), leaves_some=True)

    async def start(self) -> None:
        """Opens the connection pools."""
        self._resolver = resolver = self._resolver or SystemResolver()
        tls = ssl.create_default_context()
        self._public = _session(_PublicResolver(resolver), tls, _open_public_socket)
        self._private = _session(resolver, tls, _open_socket)

    async def aclose(self) -> None:
        """Closes all connections. Idempotent."""
        for session in (self._public, self._private):
            if session is not None:
                await session.close()
        self._public = self._private = None
        if self._resolver is not None:
            await self._resolver.close()

    @property
    def rules(self) -> HostRules:
        """Which hosts may be contacted."""
        return self._rules

    async def fetch(
        self, url: ImageAddress, max_bytes: int, received: Received, scope: bytes = b""
    ) -> Fetched:
        """Fetches the encoded image at a URL.

        Args:
            url: The image's URL.
            max_bytes: Maximum size of the image in bytes.
            received: Called with the size of each chunk; an error that it raises ends the fetch.
            scope: The tenant. Scopes take turns when fetches wait for a connection, and no scope
                can take all connections.

        Raises:
            UrlBlocked: The host of the URL, or of one that it redirects to, may not be contacted.
            ImageFetchFailed: The server cannot be reached, closes the connection early, or its
                response is not a usable 200.
            ImageTooLarge: The image has more than `max_bytes`; reading stops there.
            DeadlineExceeded: The fetch took longer than `fetch_timeout`.
        """
        _scope.set(scope)
        try:
            async with (
                asyncio.timeout(self._settings.fetch_timeout),
                self._slots.turn(scope),
            ):
                return await self._follow(url, max_bytes, received)
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"The image did not arrive within {self._settings.fetch_timeout:g} s. Try again, "
                "or send the image as a data URL."
            ) from error

    async def _follow(self, url: ImageAddress, max_bytes: int, received: Received) -> Fetched:
        fresh_until = float("inf")
        for _ in range(self._settings.max_redirects + 1):
            sent_at = time.monotonic()
            async with self._get(url) as response:
                # The result is only as fresh as the stalest response in the chain of redirects.
                fresh_until = min(fresh_until, sent_at + self._fresh_seconds(response))
                if response.status not in _REDIRECTS:
                    return Fetched(await _body(response, max_bytes, received), fresh_until)
                location = response.headers.get(hdrs.LOCATION)
            if not location:
                raise ImageFetchFailed(
                    "The image's server sent a redirect without a Location. Send the final URL, or "
                    "the image as a data URL."
                )
            url = follow(url, location)
        raise ImageFetchFailed(
            f"The image's URL redirects more than {self._settings.max_redirects} times. Send "
            "the final URL."
        )

    def _fresh_seconds(self, response: aiohttp.ClientResponse) -> float:
        maximum = float(self._settings.fetch_ttl)
        return min(maximum, fresh_seconds(response.status, response.headers, maximum))

    @asynccontextmanager
    async def _get(self, url: ImageAddress) -> AsyncIterator[aiohttp.ClientResponse]:
        """Requests one hop. Every failure is raised as an error of `silkline.errors`."""
        session = self._private if self._rules.admit(url) else self._public
        if session is None:
            raise InternalFault("The fetcher was used before start or after aclose.")
        try:
            # aiohttp closes the connection if the body is not read to its end.
            async with session.get(url.url, allow_redirects=False) as response:
                yield response
        except (aiohttp.ClientError, OSError) as error:
            raise ImageFetchFailed(
                "The image's server cannot be reached, or it closed the connection early. Check "
                "the URL, or send the image as a data URL."
            ) from error


async def _body(response: aiohttp.ClientResponse, max_bytes: int, received: Received) -> bytes:
    """Reads a response's body; stops at the size limit."""
    if response.status != _OK:
        raise ImageFetchFailed(
            f"The image's server answered with status {response.status} instead of 200. Check "
            "the URL."
        )
    encoding = response.headers.get(hdrs.CONTENT_ENCODING, "identity").strip().lower()
    if encoding != "identity":
        raise ImageFetchFailed(
            "The image's server compressed the response although the request forbids it. Send "
            "the image as a data URL."
        )
    if (response.content_length or 0) > max_bytes:
        raise too_many_bytes(max_bytes)
    chunks: list[bytes] = []
    left = max_bytes
    async for chunk in response.content.iter_any():
        left -= len(chunk)
        if left < 0:
            raise too_many_bytes(max_bytes)
        await received(len(chunk))
        chunks.append(chunk)
    return b"".join(chunks)


class SystemResolver(AbstractResolver):
    """Resolves names with the system's resolver, in its own threads.

    The event loop's default executor has few threads: hosts with a dead name server would block
    everything else that runs in it. A thread is busy until the system answers, which may be long
    after its request was cancelled.
    """

    def __init__(self) -> None:
        self._slots = FairPool(range(_RESOLVER_THREADS), leaves_some=True)
        self._threads = ThreadPoolExecutor(_RESOLVER_THREADS, thread_name_prefix="silkline-dns")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Returns all addresses of a host. Raises `OSError` if it has none."""
        slot = await self._slots.take(_scope.get())
        lookup = asyncio.get_running_loop().run_in_executor(
            self._threads,
            lambda: socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM),
        )
        lookup.add_done_callback(lambda _: self._slots.give(slot))
        addresses = await asyncio.shield(lookup)
        return [
            ResolveResult(
                hostname=host,
                host=str(sockaddr[0]),
                port=port,
                family=family,
                proto=proto,
                flags=socket.AI_NUMERICHOST,
            )
            for family, _, proto, _, sockaddr in addresses
        ]

    async def close(self) -> None:
        """Stops accepting lookups; running ones end by themselves."""
        self._slots.close()
        self._threads.shutdown(wait=False, cancel_futures=True)


class _PublicResolver(AbstractResolver):
    """Wraps a resolver; raises `UrlBlocked` unless all addresses of a host are public."""

    def __init__(self, resolver: AbstractResolver) -> None:
        self._resolver = resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        if not found:
            raise OSError("no address")
        for result in found:
            _check_text(result["host"])
        return found

    async def close(self) -> None:
        """Does nothing: the fetcher closes the wrapped resolver."""


def _check_text(address: str) -> None:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError as error:
        raise UrlBlocked("The image's host has no usable address.") from error
    check_public(parsed)


def _open_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    family, kind, protocol, _, _ = address
    return socket.socket(family, kind, protocol)


def _open_public_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """Creates a socket. Checks the address a second time, in case it bypassed the resolver."""
    _check_text(str(address[4][0]))
    return _open_socket(address)


class _Response(Response):
    """Aborts a connection that carries more data besides the body than any honest server sends.

    Interim responses, empty lines, one-byte chunks and chunk extensions keep the event loop busy
    without counting towards the size limit.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._received = 0

    def set_response_params(self, **params: Any) -> None:
        """Resets the count for the next response. See `ResponseHandler`."""
        self._received = 0
        self._payload = None
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        """Counts the data. See `ResponseHandler`."""
        body = 0 if self._payload is None else self._payload.total_bytes
        if self._received - 2 * body > _MAX_BESIDES_BYTES and self.transport is not None:
            self.transport.abort()
            return
        self._received += len(data)
        super().data_received(data)


class _Connector(ReadBy, aiohttp.TCPConnector):
    """Reads responses with `_Response`."""

    kind = _Response


def _session(
    resolver: AbstractResolver, tls: ssl.SSLContext, open_socket: aiohttp.SocketFactoryType
) -> aiohttp.ClientSession:
    connector = _Connector(
        resolver=resolver,
        use_dns_cache=False,
        ssl=tls,
        limit=_CONNECTIONS,
        socket_factory=open_socket,
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=_HEADERS,
        auto_decompress=False,
        trust_env=False,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),  # `fetch` sets it
        read_bufsize=_READ_BUFFER_BYTES,
    )
