"""The one fetcher: nothing else in Silkline opens a connection to a host that a client named.

Each hop is parsed once (`urls`), resolved once, and refused when any of its addresses is not
public; the very addresses that were checked are dialled, so a name that changes its mind between
check and use gains nothing. `Host` and SNI keep the name. Redirects are followed by hand, each
through the same door. The socket itself is made behind a second check of the address it is for.

Connections are reused, keyed by scheme, host and port. That does not go round the check: a
connection in the pool leads to the address that was checked when it was dialled, whatever the name
resolves to by now. Hosts that the operator allows to be private have a pool of their own, behind
which no address is checked.

Connections, and the threads that ask for names, are shared out among the tenants so that origins
and name servers which hang hold up those who named them and nobody else (`fair_pool`).

No cookies, no proxies, no credentials, no environment; bodies are taken uncompressed or not at
all, and little else is read, so that a byte that is read is a byte that counts.
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
"""What turns a host's name into addresses."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_OK = 200
_CONNECTIONS = 512
_READ_BUFFER_BYTES = 64 * 1024
_RESOLVER_THREADS = 32
_MAX_BESIDES_BYTES = 512 * 1024
"""Of a response, beyond as many again as its body has; a head is far shorter."""

_HEADERS = {
    hdrs.USER_AGENT: f"silkline/{__version__}",
    hdrs.ACCEPT: "image/avif,image/webp,image/*;q=0.9,*/*;q=0.5",
    hdrs.ACCEPT_ENCODING: "identity",
}


_asking: ContextVar[bytes] = ContextVar("silkline_fetch_scope", default=b"")
"""For whom the running task fetches; nothing else goes through aiohttp to a resolver."""

Received = Callable[[int], Awaitable[None]]
"""Is told of each piece of a body by its bytes; the next one is read when it returns."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """An encoded picture.

    Attributes:
        data: Its bytes.
        fresh_until: Until when its URL stands for it, by `time.monotonic`.
    """

    data: bytes = field(repr=False)
    fresh_until: float


class Fetcher(Lifespan):
    """Fetches pictures; lives in one event loop, between `start` and `aclose`."""

    def __init__(self, settings: FetchSettings, resolver: Resolver | None = None) -> None:
        """Reads the host rules; opens nothing yet.

        Args:
            settings: Limits and hosts.
            resolver: Turns names into addresses, which are checked whatever they are; the
                system's own by default. It is closed with the fetcher.

        Raises:
            ConfigError: A host in the settings is malformed.
        """
        self._settings = settings
        self._rules = HostRules(settings)
        self._resolver = resolver
        self._public: aiohttp.ClientSession | None = None
        self._private: aiohttp.ClientSession | None = None
        self._places = FairPool(range(_CONNECTIONS), leaves_some=True)

    async def start(self) -> None:
        """Opens the connection pools."""
        self._resolver = resolver = self._resolver or SystemResolver()
        tls = ssl.create_default_context()
        self._public = _session(_PublicResolver(resolver), tls, _open_public_socket)
        self._private = _session(resolver, tls, _open_socket)

    async def aclose(self) -> None:
        """Closes all connections. Closing twice is the same as once."""
        for session in (self._public, self._private):
            if session is not None:
                await session.close()
        self._public = self._private = None
        if self._resolver is not None:
            await self._resolver.close()

    @property
    def rules(self) -> HostRules:
        """Which hosts may be asked."""
        return self._rules

    async def fetch(
        self, url: ImageAddress, max_bytes: int, received: Received, scope: bytes = b""
    ) -> Fetched:
        """The encoded picture at a URL.

        Args:
            url: Where it lies.
            max_bytes: Most bytes that it may have.
            received: Is told of each piece; what it raises ends the fetch.
            scope: For whom; where many wait for a connection, the scopes take turns, and none gets
                more than are left for others.

        Raises:
            UrlBlocked: The URL, or one that it redirects to, leads where nothing may be fetched.
            ImageFetchFailed: Its server cannot be reached, breaks off or answers with something
                else than a picture.
            ImageTooLarge: It has more than `max_bytes`; reading stops there.
            DeadlineExceeded: `fetch_timeout` is over.
        """
        _asking.set(scope)
        try:
            async with (
                asyncio.timeout(self._settings.fetch_timeout),
                self._places.turn(scope),
            ):
                return await self._follow(url, max_bytes, received)
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"The picture did not come within {self._settings.fetch_timeout:g} s. Try again, "
                "or send the picture itself."
            ) from error

    async def _follow(self, url: ImageAddress, max_bytes: int, received: Received) -> Fetched:
        fresh_until = float("inf")
        for _ in range(self._settings.max_redirects + 1):
            asked = time.monotonic()
            async with self._get(url) as response:
                # What a URL stands for is as fresh as the stalest answer on the way to it.
                fresh_until = min(fresh_until, asked + self._fresh_seconds(response))
                if response.status not in _REDIRECTS:
                    return Fetched(await _body(response, max_bytes, received), fresh_until)
                location = response.headers.get(hdrs.LOCATION)
            if not location:
                raise ImageFetchFailed("The picture's server redirects to nowhere.")
            url = follow(url, location)
        raise ImageFetchFailed(
            f"The picture's URL redirects more than {self._settings.max_redirects} times. Send "
            "the last URL."
        )

    def _fresh_seconds(self, response: aiohttp.ClientResponse) -> float:
        maximum = float(self._settings.fetch_ttl)
        return min(maximum, fresh_seconds(response.status, response.headers, maximum))

    @asynccontextmanager
    async def _get(self, url: ImageAddress) -> AsyncIterator[aiohttp.ClientResponse]:
        """One hop. Every way in which it can fail comes out as one of our errors."""
        session = self._private if self._rules.admit(url) else self._public
        if session is None:
            raise InternalFault("The fetcher is used before start or after aclose.")
        try:
            # A body that is left unread ends its connection.
            async with session.get(url.url, allow_redirects=False) as response:
                yield response
        except (aiohttp.ClientError, OSError) as error:
            raise ImageFetchFailed(
                "The picture's server cannot be reached, or it broke off. Check the URL, or send "
                "the picture itself."
            ) from error


async def _body(response: aiohttp.ClientResponse, max_bytes: int, received: Received) -> bytes:
    """Reads a body, no further than the limits."""
    if response.status != _OK:
        raise ImageFetchFailed(
            f"The picture's server answered with status {response.status} instead of 200. Check "
            "the URL."
        )
    encoding = response.headers.get(hdrs.CONTENT_ENCODING, "identity").strip().lower()
    if encoding != "identity":
        raise ImageFetchFailed(
            "The picture's server sent it compressed although asked not to. Send the picture "
            "itself."
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
    """Asks the system's resolver, in threads of its own.

    The event loop's shared threads would do, but are few: a host with a dead name server would
    hold up everything else that runs in them. A thread is held until the system has answered,
    which may be long after whoever asked has left.
    """

    def __init__(self) -> None:
        self._places = FairPool(range(_RESOLVER_THREADS), leaves_some=True)
        self._threads = ThreadPoolExecutor(_RESOLVER_THREADS, thread_name_prefix="silkline-dns")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """All addresses of a host. Raises `OSError` where it has none."""
        place = await self._places.take(_asking.get())
        asked = asyncio.get_running_loop().run_in_executor(
            self._threads,
            lambda: socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM),
        )
        asked.add_done_callback(lambda _: self._places.give(place))
        found = await asyncio.shield(asked)
        return [
            ResolveResult(
                hostname=host,
                host=str(sockaddr[0]),
                port=port,
                family=family,
                proto=proto,
                flags=socket.AI_NUMERICHOST,
            )
            for family, _, proto, _, sockaddr in found
        ]

    async def close(self) -> None:
        """Lets running queries end by themselves."""
        self._places.close()
        self._threads.shutdown(wait=False, cancel_futures=True)


class _PublicResolver(AbstractResolver):
    """Passes on what a resolver finds when all of it is public, else nothing."""

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
        """The fetcher closes the resolver that stands behind."""


def _check_text(address: str) -> None:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError as error:
        raise UrlBlocked("The picture's host has no usable address.") from error
    check_public(parsed)


def _open_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    family, kind, protocol, _, _ = address
    return socket.socket(family, kind, protocol)


def _open_public_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """The second lock: no socket is made for an address that is not public, however it came."""
    _check_text(str(address[4][0]))
    return _open_socket(address)


class _Response(Response):
    """Ends a connection on which more comes beside the body than any honest server sends.

    Interim responses, empty lines, chunks of one byte and what may stand beside their lengths keep
    the event loop busy without a byte that counts.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._received = 0

    def set_response_params(self, **params: Any) -> None:
        """Another response begins. See `ResponseHandler`."""
        self._received = 0
        self._payload = None
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        """See `ResponseHandler`."""
        body = 0 if self._payload is None else self._payload.total_bytes
        if self._received - 2 * body > _MAX_BESIDES_BYTES and self.transport is not None:
            self.transport.abort()
            return
        self._received += len(data)
        super().data_received(data)


class _Connector(ReadBy, aiohttp.TCPConnector):
    """Reads responses by `_Response`."""

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
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),  # `fetch` has its own
        read_bufsize=_READ_BUFFER_BYTES,
    )
