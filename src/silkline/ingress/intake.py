"""The pictures of a request, from what the client sent to normalised images.

All that can be told without work is told first: number, encoded sizes, URL grammar. Then the
fetches run together. Then, where the pictures of a request could exceed its pixels in sum, their
headers are read, and only then is anything decoded. The first picture that fails ends the rest.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

from silkline.config import DecodeSettings, FetchSettings, LimitSettings
from silkline.core import Image, Stage, Timeline
from silkline.engines.base import PixelBudget
from silkline.errors import ImageTooLarge, RequestTooLarge, SilklineError
from silkline.ingress.decode import Decoded, DecoderPool
from silkline.ingress.fetch import ByteBudget, Fetcher, Resolver
from silkline.ingress.source import EncodedSource, Source, UploadSource, UrlSource, too_many_bytes

_FETCHES_AT_ONCE = 4

_Outcome = TypeVar("_Outcome")


@dataclass(frozen=True, slots=True)
class Pictures:
    """The pictures of a request.

    Attributes:
        images: In the order of their sources.
        original_pixels: How many pixels each had before its budget.
        timeline: Wall time of fetching, and that of decoding and resizing; pictures that are
            worked on at the same time do not add up.
    """

    images: tuple[Image, ...]
    original_pixels: tuple[int, ...]
    timeline: Timeline


class Intake:
    """Brings pictures in; lives in one event loop, between `start` and `aclose`."""

    def __init__(
        self,
        limits: LimitSettings,
        fetch: FetchSettings,
        decode: DecodeSettings,
        resolver: Resolver | None = None,
    ) -> None:
        """Reads the settings; starts nothing yet.

        Args:
            limits: What one request may ask for.
            fetch: How pictures are fetched.
            decode: How they are decoded.
            resolver: Turns host names into addresses; the system's own by default.

        Raises:
            ConfigError: A host in the settings is malformed.
        """
        self._limits = limits
        self._fetcher = Fetcher(fetch, resolver)
        self._decoders = DecoderPool(decode)

    async def start(self) -> None:
        """Starts the decoding processes and opens the connection pool.

        Raises:
            EnvironmentFault: The decoding processes do not start.
        """
        await self._decoders.start()
        await self._fetcher.start()

    async def aclose(self) -> None:
        """Ends the decoding processes and closes all connections. Closing twice is as once."""
        await self._fetcher.aclose()
        await self._decoders.aclose()

    async def __aenter__(self) -> Intake:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def take(self, sources: Sequence[Source], budget: PixelBudget) -> Pictures:
        """Fetches, decodes, normalises and reduces the pictures of one request.

        An error's `param` is that of the source at fault.

        Raises:
            RequestTooLarge: The pictures are too many, or have too many bytes together.
            ImageTooLarge: One has too many bytes or pixels, or all have too many pixels together.
            InvalidRequest: Base64 is broken, or a picture is far longer than wide.
            UrlBlocked, ImageFetchFailed, DeadlineExceeded: See `Fetcher.fetch`.
            ImageFormat, ImageUndecodable, Overloaded, ShuttingDown: See `DecoderPool.decode`.
        """
        if len(sources) > self._limits.max_images:
            raise RequestTooLarge(
                f"The request has {len(sources)} pictures; at most {self._limits.max_images} are "
                "taken."
            )
        encoded, timeline = await self._gather_bytes(sources)
        await self._check_pixels(sources, encoded)
        begun = time.perf_counter()
        decoded = await _together(
            [
                self._decode(source, data, budget)
                for source, data in zip(sources, encoded, strict=True)
            ]
        )
        return Pictures(
            tuple(picture.image for picture in decoded),
            tuple(picture.original_pixels for picture in decoded),
            timeline.plus(_shared_out(decoded, time.perf_counter() - begun)),
        )

    async def _gather_bytes(self, sources: Sequence[Source]) -> tuple[list[bytes], Timeline]:
        """The encoded pictures: first those that came with the request, then the fetched ones."""
        budget = ByteBudget(self._limits.max_body_bytes)
        slots = asyncio.Semaphore(_FETCHES_AT_ONCE)
        encoded = [
            b"" if isinstance(one, UrlSource) else self._sent(one, budget) for one in sources
        ]

        async def fetch(place: int, source: UrlSource) -> None:
            async with slots:
                with _blamed_on(source):
                    encoded[place] = await self._fetcher.fetch(
                        source.url, self._limits.max_image_bytes, budget
                    )

        remote = [
            fetch(place, source)
            for place, source in enumerate(sources)
            if isinstance(source, UrlSource)
        ]
        if not remote:
            return encoded, Timeline()
        begun = time.perf_counter()
        await _together(remote)
        return encoded, Timeline({Stage.FETCH: time.perf_counter() - begun})

    def _sent(self, source: EncodedSource | UploadSource, budget: ByteBudget) -> bytes:
        """The bytes of a picture that came with the request."""
        limit = self._limits.max_image_bytes
        with _blamed_on(source):
            data = source.data if isinstance(source, UploadSource) else source.decode(limit)
            if len(data) > limit:
                raise too_many_bytes(limit)
            budget.take(len(data))
        return data

    async def _check_pixels(self, sources: Sequence[Source], encoded: list[bytes]) -> None:
        """Reads the headers of pictures that could have too many pixels in sum."""
        allowed = self._limits.max_request_pixels
        if len(encoded) * self._max_pixels <= allowed:
            return

        async def pixels(source: Source, data: bytes) -> int:
            with _blamed_on(source):
                width, height = await self._decoders.size(data, self._max_pixels)
            return width * height

        each = await _together(
            [pixels(source, data) for source, data in zip(sources, encoded, strict=True)]
        )
        if sum(each) > allowed:
            raise ImageTooLarge(
                f"The pictures of the request have {sum(each)} pixels together; at most {allowed} "
                "are taken. Send fewer or smaller ones."
            )

    @property
    def _max_pixels(self) -> int:
        return min(self._limits.max_image_pixels, self._limits.max_request_pixels)

    async def _decode(self, source: Source, data: bytes, budget: PixelBudget) -> Decoded:
        with _blamed_on(source):
            return await self._decoders.decode(data, self._max_pixels, budget)


@contextmanager
def _blamed_on(source: Source) -> Iterator[None]:
    """Names the source in an error that names no field of the request."""
    try:
        yield
    except SilklineError as error:
        error.param = error.param or source.param
        raise


async def _together(work: Sequence[Coroutine[Any, Any, _Outcome]]) -> list[_Outcome]:
    """Runs work at the same time; the first error ends the rest and is raised alone."""
    if len(work) == 1:
        return [await work[0]]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


def _shared_out(decoded: Sequence[Decoded], wall: float) -> Timeline:
    """Wall time of the decoding phase, divided as the pictures' own times are."""
    spent = Timeline()
    for picture in decoded:
        spent = spent.plus(Timeline(picture.seconds))
    total = sum(spent.seconds.values())
    if total == 0:
        return Timeline()
    return Timeline({stage: wall * seconds / total for stage, seconds in spent.seconds.items()})
