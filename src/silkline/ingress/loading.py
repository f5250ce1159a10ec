"""Fetches and decodes images for all requests of the process; shares identical work.

Requests of one tenant that need the same URL at the same time share one fetch. Requests that need
the same encoded image within the same budget share one decode. One limit for all requests bounds
the bytes that are fetched and not yet decoded.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec

from silkline.aio.byte_budget import ByteBudget, Claim
from silkline.aio.single_flight import Flight, OnProgress, SingleFlight
from silkline.config import DecodeSettings, FetchSettings, LimitSettings
from silkline.core import PixelBudget
from silkline.errors import ImageFormat
from silkline.ingress.decode import RGB_BYTES, Decoded, DecoderPool, DecoderSnapshot
from silkline.ingress.fetch import Fetcher, Resolver
from silkline.ingress.known_images import Encoded, digest
from silkline.ingress.lifespan import Lifespan
from silkline.ingress.resize import MAX_ELONGATION, target_size
from silkline.ingress.urls import ImageAddress
from silkline.ingress.wanted import Wanted

_DecodeKey = tuple[bytes, bytes, PixelBudget, int | None, Wanted]
"""Scope, digest of the file, pixel budget, page of a document, and what the image must have."""

PATIENCE_SHARE = 0.5
"""The share of `fetch_timeout` that a fetch may wait for memory."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """An encoded image with its bytes.

    Attributes:
        data: Its bytes.
        encoded: Its digest, size and freshness.
    """

    data: bytes = field(repr=False)
    encoded: Encoded


@dataclass(frozen=True, slots=True)
class LoadingSnapshot:
    """Counters and current state of loading; counters run since the start.

    Attributes:
        fetches: Fetches started.
        fetches_shared: Images that shared a fetch started by another request.
        decodes: Decodes started.
        decodes_shared: Images that shared a decode started by another request.
        inflight_bytes: Bytes of fetched images that are held now.
        inflight_waiting: Fetches that wait for memory.
        decoders: The processes that decode, by kind: images or documents.
    """

    fetches: int
    fetches_shared: int
    decodes: int
    decodes_shared: int
    inflight_bytes: int
    inflight_waiting: int
    decoders: Mapping[str, DecoderSnapshot]


class Loader(Lifespan):
    """Fetches and decodes images. Use it in one event loop, between `start` and `aclose`."""

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
        self._renderers = DecoderPool(decode, documents=True)
        self._inflight = ByteBudget(
            limits.max_inflight_bytes, self._max_bytes, fetch.fetch_timeout * PATIENCE_SHARE
        )
        # A fetch that others still use may be joined while its response is fresh.
        self._fetches: SingleFlight[tuple[bytes, str], Loaded] = SingleFlight(
            lambda loaded: loaded.encoded.fresh_until > time.monotonic()
        )
        self._decodes: SingleFlight[_DecodeKey, Decoded] = SingleFlight(lambda _: True)

    async def start(self) -> None:
        """Starts the decoding processes and opens the connection pool.

        Raises:
            EnvironmentFault: The decoding processes do not start.
        """
        await self._decoders.start()
        await self._renderers.start()
        await self._fetcher.start()

    async def aclose(self) -> None:
        """Ends all work, the decoding processes and all connections. Idempotent."""
        await self._fetches.aclose()
        await self._decodes.aclose()
        await self._fetcher.aclose()
        await self._decoders.aclose()
        await self._renderers.aclose()

    def admit(self, url: ImageAddress) -> None:
        """Raises `UrlBlocked` if nothing may be fetched from the URL's host."""
        self._fetcher.rules.admit(url)

    def fetch(
        self, url: ImageAddress, scope: bytes, on_progress: OnProgress
    ) -> AbstractAsyncContextManager[Loaded]:
        """Fetches the encoded image at a URL and keeps it while the context is open.

        Args:
            url: The image's URL.
            scope: The tenant. Only requests of the same scope share a fetch.
            on_progress: Called with the size of each chunk; an error that it raises ends the fetch
                for this request only.

        Raises:
            UrlBlocked, ImageFetchFailed, ImageTooLarge, DeadlineExceeded: See `Fetcher.fetch`.
            Overloaded: There is no memory left for more images.
            ShuttingDown: The loader is closed.
        """

        @asynccontextmanager
        async def load(flight: Flight[Loaded]) -> AsyncIterator[Loaded]:
            with ExitStack() as held:
                claim: Claim | None = None

                async def received(count: int) -> None:
                    nonlocal claim
                    # Claim only once connected: connected fetches wait for the oldest claim.
                    claim = claim or held.enter_context(self._inflight.claim(scope))
                    flight.advance(count)
                    await claim.grow(count)

                fetched = await self._fetcher.fetch(url, self._max_bytes, received, scope)
                data = fetched.data
                yield Loaded(data, Encoded(digest(data), len(data), fetched.fresh_until))

        return self._fetches.join((scope, str(url.url)), load, on_progress)

    async def pixels(self, data: bytes, scope: bytes) -> int:
        """Number of pixels by the image's header. Raises what `DecoderPool.size` raises."""
        width, height = await self._decoders.size(data, self._max_pixels, scope)
        return width * height

    def fits(self, data: bytes, size: tuple[int, int], budget: PixelBudget) -> bool:
        """Whether a file of this width and height can be passed on: within all limits, unchanged.

        A file larger than its pixels has little more than metadata.
        """
        width, height = size
        limits = (budget.shortest_edge, budget.max_pixels, budget.min_pixels)
        return (
            width * height <= self._max_pixels
            and max(size) <= MAX_ELONGATION * min(size)
            and target_size(width, height, *limits) == size
            and len(data) <= width * height * RGB_BYTES
        )

    async def pages(self, data: bytes, scope: bytes) -> int:
        """Number of pages of a document.

        Raises:
            ImageFormat: PDFium is not installed.
            SilklineError: As `DecoderPool.decode` raises.
        """
        if find_spec("pypdfium2") is None:
            raise ImageFormat(
                "The data is a PDF, which this server cannot read: it needs "
                "pip install 'silkline[pdf]'. Send images of the pages."
            )
        return await self._renderers.pages(data, self._max_pixels, scope)

    async def decode(
        self,
        loaded: Loaded,
        scope: bytes,
        budget: PixelBudget,
        page: int | None = None,
        *,
        wanted: Wanted = Wanted.PIXELS,
    ) -> Decoded:
        """Decodes and normalises an image, or a page of a document.

        The arguments and errors are those of `DecoderPool.decode`.
        """
        pool = self._decoders if page is None else self._renderers

        @asynccontextmanager
        async def decode(_: Flight[Decoded]) -> AsyncIterator[Decoded]:
            yield await pool.decode(loaded.data, self._max_pixels, budget, scope, page, wanted)

        key = (scope, loaded.encoded.digest, budget, page, wanted)
        async with self._decodes.join(key, decode) as decoded:
            return decoded

    def snapshot(self) -> LoadingSnapshot:
        """Returns the current counters; never waits."""
        return LoadingSnapshot(
            fetches=self._fetches.begun,
            fetches_shared=self._fetches.joined,
            decodes=self._decodes.begun,
            decodes_shared=self._decodes.joined,
            inflight_bytes=self._inflight.used,
            inflight_waiting=self._inflight.waiting,
            decoders={
                "images": self._decoders.snapshot(),
                "documents": self._renderers.snapshot(),
            },
        )
