"""Fetching and decoding for all requests of the process: each thing once at a time.

Requests of one tenant that want the same URL at the same time share one fetch, those that want the
same encoded picture within the same budget share one decode. What is fetched is held to a bound
over all requests while it is not decoded yet.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass, field

from silkline.aio.byte_budget import ByteBudget, Claim
from silkline.aio.single_flight import Flight, OnProgress, SingleFlight
from silkline.config import DecodeSettings, FetchSettings, LimitSettings
from silkline.core import PixelBudget
from silkline.ingress.decode import Decoded, DecoderPool
from silkline.ingress.fetch import Fetcher, Resolver
from silkline.ingress.known_images import Encoded, digest
from silkline.ingress.lifespan import Lifespan
from silkline.ingress.urls import ImageAddress

PATIENCE_SHARE = 0.5
"""The part of the time for a fetch that it may wait for room."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """An encoded picture, and what is remembered of it.

    Attributes:
        data: Its bytes.
        encoded: Its digest, size and freshness.
    """

    data: bytes = field(repr=False)
    encoded: Encoded


@dataclass(frozen=True, slots=True)
class LoadingSnapshot:
    """How loading gets on; counts are since the start.

    Attributes:
        fetches: Fetches that were begun.
        fetches_shared: Pictures that came by a fetch that another had begun.
        decodes: Decodes that were begun.
        decodes_shared: Pictures that came by a decode that another had begun.
        inflight_bytes: Bytes of fetched pictures that are held now.
        inflight_waiting: Fetches that wait for room.
    """

    fetches: int
    fetches_shared: int
    decodes: int
    decodes_shared: int
    inflight_bytes: int
    inflight_waiting: int


class Loader(Lifespan):
    """Fetches and decodes; lives in one event loop, between `start` and `aclose`."""

    def __init__(
        self,
        limits: LimitSettings,
        fetch: FetchSettings,
        decode: DecodeSettings,
        resolver: Resolver | None,
    ) -> None:
        """Reads the settings; starts nothing yet. The arguments are those of `Intake`."""
        self._max_bytes = limits.max_image_bytes
        self._max_pixels = min(limits.max_image_pixels, limits.max_request_pixels)
        self._fetcher = Fetcher(fetch, resolver)
        self._decoders = DecoderPool(decode)
        self._inflight = ByteBudget(
            limits.max_inflight_bytes, self._max_bytes, fetch.fetch_timeout * PATIENCE_SHARE
        )
        # A fetched picture that others still use will do as long as its origin says so.
        self._fetches: SingleFlight[tuple[bytes, str], Loaded] = SingleFlight(
            lambda loaded: loaded.encoded.fresh_until > time.monotonic()
        )
        self._decodes: SingleFlight[tuple[bytes, bytes, PixelBudget], Decoded] = SingleFlight(
            lambda _: True
        )

    async def start(self) -> None:
        """Starts the decoding processes and opens the connection pool.

        Raises:
            EnvironmentFault: The decoding processes do not start.
        """
        await self._decoders.start()
        await self._fetcher.start()

    async def aclose(self) -> None:
        """Ends all work, the decoding processes and all connections. Closing twice is as once."""
        await self._fetches.aclose()
        await self._decodes.aclose()
        await self._fetcher.aclose()
        await self._decoders.aclose()

    def admit(self, url: ImageAddress) -> None:
        """Raises `UrlBlocked` where nothing may be fetched from the URL's host."""
        self._fetcher.rules.admit(url)

    def fetch(
        self, url: ImageAddress, scope: bytes, watch: OnProgress
    ) -> AbstractAsyncContextManager[Loaded]:
        """The encoded picture at a URL, which is held while the context is open.

        Args:
            url: Where it lies.
            scope: Only requests of the same scope share a fetch.
            watch: Is told of each piece that came; what it raises ends this request's part.

        Raises:
            UrlBlocked, ImageFetchFailed, ImageTooLarge, DeadlineExceeded: See `Fetcher.fetch`.
            Overloaded: There is no room for more pictures.
            ShuttingDown: The loader is closed.
        """

        @asynccontextmanager
        async def load(flight: Flight[Loaded]) -> AsyncIterator[Loaded]:
            with ExitStack() as held:
                claim: Claim | None = None

                async def received(count: int) -> None:
                    nonlocal claim
                    # Not before it has a connection: those who have one wait for the oldest claim.
                    claim = claim or held.enter_context(self._inflight.claim(scope))
                    flight.advance(count)
                    await claim.grow(count)

                fetched = await self._fetcher.fetch(url, self._max_bytes, received, scope)
                data = fetched.data
                yield Loaded(data, Encoded(digest(data), len(data), fetched.fresh_until))

        return self._fetches.join((scope, str(url.url)), load, watch)

    async def pixels(self, data: bytes, scope: bytes) -> int:
        """Pixels of an encoded picture by its header. Raises as `DecoderPool.decode` does."""
        width, height = await self._decoders.size(data, self._max_pixels, scope)
        return width * height

    async def decode(self, loaded: Loaded, scope: bytes, budget: PixelBudget) -> Decoded:
        """Decodes and normalises a picture. Raises as `DecoderPool.decode` does."""

        @asynccontextmanager
        async def decode(_: Flight[Decoded]) -> AsyncIterator[Decoded]:
            yield await self._decoders.decode(loaded.data, self._max_pixels, budget, scope)

        key = (scope, loaded.encoded.digest, budget)
        async with self._decodes.join(key, decode) as decoded:
            return decoded

    def snapshot(self) -> LoadingSnapshot:
        """How it gets on; never waits."""
        return LoadingSnapshot(
            fetches=self._fetches.begun,
            fetches_shared=self._fetches.joined,
            decodes=self._decodes.begun,
            decodes_shared=self._decodes.joined,
            inflight_bytes=self._inflight.used,
            inflight_waiting=self._inflight.waiting,
        )
