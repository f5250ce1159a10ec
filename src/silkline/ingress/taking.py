"""Brings in the images of one request: unpacks, fetches, counts, decodes and remembers them.

Cheap checks come first: number of images and encoded sizes. After that the images are processed
independently, so a fetched image never waits for another one: an image is fetched, its header is
read and its pixels counted (only if the request could exceed its pixel limit), and then it is
decoded. A document becomes one image for each page. The first image that fails cancels the others.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from silkline.aio.byte_budget import Claim
from silkline.config import LimitSettings
from silkline.core import EncodedImage, Image, PixelBudget, Stage, Timeline
from silkline.errors import RequestTooLarge, SilklineError
from silkline.ingress.allowance import Allowance
from silkline.ingress.decode import Decoded
from silkline.ingress.formats import is_document, sniff
from silkline.ingress.header import plain_size
from silkline.ingress.identity import Identity, Recognised, file_digest
from silkline.ingress.known_images import Encoded, KnownImages, Name, digest
from silkline.ingress.loading import Loaded, Loader
from silkline.ingress.source import (
    EncodedSource,
    SentSource,
    Source,
    UploadSource,
    UrlSource,
    too_many_bytes,
)
from silkline.ingress.wanted import Wanted

LARGE_BYTES = 512 * 1024
"""Images of at least this size are hashed and unpacked in a thread: it takes about 1 ms."""

_FETCHES_AT_ONCE = 4

_Outcome = TypeVar("_Outcome")


@dataclass(frozen=True, slots=True)
class TakenImages:
    """The decoded images of a request.

    Attributes:
        images: The images, in the order of their sources and pages.
        recognised: The identities of the images, by source.
        timeline: Wall time until the last fetch ended, and of decoding and resizing after that.
            Images processed at the same time do not add up.
    """

    images: tuple[Image, ...] = ()
    recognised: tuple[Recognised, ...] = ()
    timeline: Timeline = field(default_factory=Timeline)


@dataclass(frozen=True, slots=True)
class _Brought:
    """The decoded images of one source, and what was mended in it."""

    images: Sequence[Decoded]
    mends: tuple[str, ...]

    @property
    def recognised(self) -> Recognised:
        return Recognised(tuple(image.identity for image in self.images), self.mends)


class Taking:
    """Brings in the images of one request. Call `take` once."""

    def __init__(
        self,
        limits: LimitSettings,
        loader: Loader,
        known: KnownImages,
        budget: PixelBudget,
        scope: bytes,
        held: Claim | None,
        wanted: Wanted,
    ) -> None:
        """Prepares; starts nothing yet. For the last four see `Intake.take`."""
        self._limits = limits
        self._loader = loader
        self._known = known
        self._budget = budget
        self._scope = scope
        self._held = held
        self._wanted = wanted
        self._bytes = Allowance.of_bytes(limits.max_body_bytes)
        self._pixels = Allowance.of_pixels(limits.max_request_pixels)
        self._counts_first = False
        self._images = 0
        self._slots = asyncio.Semaphore(_FETCHES_AT_ONCE)
        self._begun = time.perf_counter()
        self._fetched: float | None = None

    async def take(self, sources: Sequence[Source]) -> TakenImages:
        """Brings in the images. Raises what `Intake.take` raises."""
        limits = self._limits
        check_count(len(sources), limits)
        self._images = len(sources)
        largest = min(limits.max_image_pixels, limits.max_request_pixels)
        self._counts_first = len(sources) * largest > limits.max_request_pixels
        sent = [
            (source, await self._sent(source))
            for source in sources
            if not isinstance(source, UrlSource)
        ]
        await _together([self._count_first(source, loaded) for source, loaded in sent])
        ready = iter(sent)
        brought = await _together(
            [
                self._fetch(source)
                if isinstance(source, UrlSource)
                else self._take_sent(*next(ready))
                for source in sources
            ]
        )
        decoded = [image for one in brought for image in one.images]
        return TakenImages(
            tuple(image.image for image in decoded),
            tuple(one.recognised for one in brought),
            self._timeline(decoded),
        )

    async def _sent(self, source: SentSource) -> Loaded:
        """Checks and unpacks an image in the request."""
        limits = self._limits
        with blamed_on(source):
            check_size(source, self._bytes, limits)
            strict = limits.strict_base64 or limits.strict_fields
            if source.size >= LARGE_BYTES:
                loaded = await asyncio.to_thread(_unpacked, source, strict=strict)
            else:
                loaded = _unpacked(source, strict=strict)
            if loaded.encoded.size > limits.max_image_bytes:  # `exceeds` may underestimate
                raise too_many_bytes(limits.max_image_bytes)
            return loaded

    async def _fetch(self, source: UrlSource) -> _Brought:
        with blamed_on(source):
            async with AsyncExitStack() as held:
                async with self._slots:
                    fetch = self._loader.fetch(source.url, self._scope, self._bytes.take)
                    loaded = await held.enter_async_context(fetch)
                self._fetched = time.perf_counter()
                await self._count_first(source, loaded)
                brought = await self._decode(source, loaded)
            # Only now: the oldest request may wait for the memory that was claimed for the fetch.
            await self._hold(brought)
            return brought

    async def _take_sent(self, source: SentSource, loaded: Loaded) -> _Brought:
        with blamed_on(source):
            brought = await self._decode(source, loaded)
            await self._hold(brought)
            return brought

    async def _count_first(self, source: Source, loaded: Loaded) -> None:
        """Counts an image's pixels before decoding, if the request could exceed its limit."""
        if self._counts_first and not is_document(loaded.data):
            with blamed_on(source):
                self._pixels.take(await self._loader.pixels(loaded.data, self._scope))

    async def _decode(self, source: Source, loaded: Loaded) -> _Brought:
        """Decodes the images of a source, counts their pixels, and remembers their identities."""
        budget = source.pixels.within(self._budget)
        if is_document(loaded.data):
            images = await self._render(loaded, budget)
            counted = False
        else:
            undecoded = self._undecoded(loaded, budget)
            images = [
                undecoded
                or await self._loader.decode(loaded, self._scope, budget, wanted=self._wanted)
            ]
            counted = self._counts_first
        for decoded in images:
            original = decoded.identity.original_pixels
            pixels = max(original, decoded.image.width * decoded.image.height)
            self._pixels.take(pixels - original if counted else pixels)
        encoded = loaded.encoded
        brought = _Brought(images, encoded.mends)
        identities = brought.recognised.images
        self._known.learn_images(self._scope, encoded.digest, budget, self._wanted, identities)
        if not isinstance(source, UploadSource):
            self._known.learn_source(self._scope, name_of(source), encoded)
        return brought

    def _undecoded(self, loaded: Loaded, budget: PixelBudget) -> Decoded | None:
        """The image of a file that need not be decoded; None if it must be."""
        if self._wanted is not Wanted.UNDECODED_FILE:
            return None
        begun = time.perf_counter()
        data, kind = loaded.data, sniff(loaded.data)
        size = plain_size(data, kind)
        if size is None or not self._loader.fits(data, size, budget):
            return None
        digest = file_digest(loaded.encoded.digest)
        return Decoded(
            Image(*size, b"", digest, EncodedImage(data, kind.media_type)),
            Identity(digest, math.prod(size), None, *size, kind.value.lower()),
            {Stage.DECODE: time.perf_counter() - begun},
        )

    async def _render(self, loaded: Loaded, budget: PixelBudget) -> list[Decoded]:
        """Renders the pages of a document."""
        pages = await self._loader.pages(loaded.data, self._scope)
        self._images += pages - 1
        if self._images > self._limits.max_images:
            raise RequestTooLarge(
                f"The document has {pages} pages, each of which counts as an image. With them, the "
                f"request has more than the {self._limits.max_images} images that are allowed. "
                "Send fewer pages."
            )
        work = [self._loader.decode(loaded, self._scope, budget, page) for page in range(pages)]
        return await _together(work)

    async def _hold(self, brought: _Brought) -> None:
        """Waits until there is memory for decoded images and the files that they keep."""
        if self._held is not None:
            await self._held.grow(sum(_held_bytes(decoded.image) for decoded in brought.images))

    def _timeline(self, decoded: Sequence[Decoded]) -> Timeline:
        """Wall time by stage; the time after the last fetch is split like the images' own times."""
        now = time.perf_counter()
        begun, fetched = self._begun, self._fetched
        since = begun if fetched is None else fetched
        spent = Timeline() if fetched is None else Timeline({Stage.FETCH: since - begun})
        own = Timeline()
        for image in decoded:
            own = own.plus(Timeline(image.seconds))
        total = sum(own.seconds.values())
        if total == 0:
            return spent
        return spent.plus(
            Timeline(
                {stage: (now - since) * seconds / total for stage, seconds in own.seconds.items()}
            )
        )


def check_count(images: int, limits: LimitSettings) -> None:
    """Raises `RequestTooLarge` if a request has too many images."""
    if images > limits.max_images:
        raise RequestTooLarge(
            f"The request has {images} images; at most {limits.max_images} are allowed. Send fewer."
        )


def check_size(source: SentSource, allowance: Allowance, limits: LimitSettings) -> None:
    """Checks an image in the request against the byte limits.

    Raises:
        ImageTooLarge: It has too many bytes.
        RequestTooLarge: All images of the request have too many bytes together.
    """
    if source.exceeds(limits.max_image_bytes):
        raise too_many_bytes(limits.max_image_bytes)
    allowance.take(source.size)


def name_of(source: UrlSource | EncodedSource) -> Name:
    """The key under which a source is remembered."""
    if isinstance(source, UrlSource):
        return str(source.url.url)
    return source.digest


def _held_bytes(image: Image) -> int:
    """Bytes of an image and of the file that it keeps."""
    return len(image.pixels) + (len(image.encoded.data) if image.encoded else 0)


@contextmanager
def blamed_on(source: Source) -> Iterator[None]:
    """Sets `param` to the source's field in errors that do not have one."""
    try:
        yield
    except SilklineError as error:
        error.param = error.param or source.param
        raise


def _unpacked(source: SentSource, *, strict: bool) -> Loaded:
    """The bytes of an image in the request, and their digest."""
    if isinstance(source, UploadSource):
        return Loaded(source.data, Encoded(source.digest, source.size, math.inf))
    data, mends = source.decode(strict=strict)
    return Loaded(data, Encoded(digest(data), len(data), math.inf, mends))


async def _together(work: Sequence[Coroutine[Any, Any, _Outcome]]) -> list[_Outcome]:
    """Runs coroutines concurrently; the first error cancels the others and is raised alone."""
    if len(work) == 1:
        return [await work[0]]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in work]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]
