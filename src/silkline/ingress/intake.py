"""Turns the image sources of a request into normalised images.

There are two steps, so that a request with a cached answer costs almost nothing: `recognise` looks
up images that were seen before, and `take` fetches and decodes them.

Cheap checks come first: number of images, encoded sizes, URL grammar. After that the images are
processed independently, so a fetched image never waits for another one: an image is fetched, its
header is read and its pixels counted (only if the request could exceed its pixel limit), and then
it is decoded. The first image that fails cancels the others.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from silkline.aio.byte_budget import ByteBudget, Claim
from silkline.config import DecodeSettings, FetchSettings, LimitSettings
from silkline.core import Image, PixelBudget, Stage, Timeline
from silkline.errors import RequestTooLarge, SilklineError
from silkline.ingress.allowance import Allowance
from silkline.ingress.decode import Decoded
from silkline.ingress.fetch import Resolver
from silkline.ingress.identity import Identity
from silkline.ingress.known_images import Encoded, KnownImages, Name, digest
from silkline.ingress.lifespan import Lifespan
from silkline.ingress.loading import PATIENCE_SHARE, Loaded, Loader, LoadingSnapshot
from silkline.ingress.source import (
    EncodedSource,
    SentSource,
    Source,
    UploadSource,
    UrlSource,
    too_many_bytes,
)

_FETCHES_AT_ONCE = 4

_BYTES_A_PIXEL = 3

_LARGE_BYTES = 512 * 1024
"""Images of at least this size are hashed and unpacked in a thread: it takes about 1 ms."""

_Outcome = TypeVar("_Outcome")


@dataclass(frozen=True, slots=True)
class TakenImages:
    """The decoded images of a request.

    Attributes:
        images: The images, in the order of their sources.
        identities: The identity of each image.
        timeline: Wall time until the last fetch ended, and of decoding and resizing after that.
            Images processed at the same time do not add up.
    """

    images: tuple[Image, ...]
    identities: tuple[Identity, ...]
    timeline: Timeline


@dataclass(frozen=True, slots=True)
class IntakeSnapshot:
    """Counters and current state of the intake.

    Attributes:
        recognised: Requests since the start whose images were all known.
        known: Sources and images that are known now.
        known_bytes: Approximate memory that they take.
        loading: Snapshot of fetching and decoding.
    """

    recognised: int
    known: int
    known_bytes: int
    loading: LoadingSnapshot


class _Taking:
    """The counters, limits and times of one call of `take`."""

    def __init__(
        self,
        limits: LimitSettings,
        budget: PixelBudget,
        scope: bytes,
        images: int,
        held: Claim | None,
    ) -> None:
        self.held = held
        self.budget = budget
        self.scope = scope
        self.bytes = Allowance.of_bytes(limits.max_body_bytes)
        maximum = images * min(limits.max_image_pixels, limits.max_request_pixels)
        allowed = limits.max_request_pixels
        self.pixels = Allowance.of_pixels(allowed) if maximum > allowed else None
        self.slots = asyncio.Semaphore(_FETCHES_AT_ONCE)
        self.begun = time.perf_counter()
        self.fetched: float | None = None


class Intake(Lifespan):
    """Fetches, decodes and recognises images in one event loop, between `start` and `aclose`."""

    def __init__(
        self,
        limits: LimitSettings,
        fetch: FetchSettings,
        decode: DecodeSettings,
        resolver: Resolver | None = None,
    ) -> None:
        """Reads the settings; starts nothing yet.

        Args:
            limits: Limits of a request.
            fetch: Settings of fetching.
            decode: Settings of decoding.
            resolver: Resolves host names; the system's resolver by default.

        Raises:
            ConfigError: A host in the settings is malformed.
        """
        self._limits = limits
        self._loader = Loader(limits, fetch, decode, resolver)
        self._known_images = KnownImages(decode.identity_memory_bytes)
        self._recognised = 0
        worst = _BYTES_A_PIXEL * limits.max_request_pixels
        patience = fetch.fetch_timeout * PATIENCE_SHARE
        self._decoded = ByteBudget(max(limits.max_inflight_bytes, worst), worst, patience)

    async def start(self) -> None:
        """Starts the decoding processes and opens the connection pool.

        Raises:
            EnvironmentFault: The decoding processes do not start.
        """
        await self._loader.start()

    async def aclose(self) -> None:
        """Ends the decoding processes and closes all connections. Idempotent."""
        await self._loader.aclose()

    def snapshot(self) -> IntakeSnapshot:
        """Returns the current counters; never waits."""
        return IntakeSnapshot(
            recognised=self._recognised,
            known=self._known_images.entries,
            known_bytes=self._known_images.size_bytes,
            loading=self._loader.snapshot(),
        )

    def recognise(
        self, sources: Sequence[Source], budget: PixelBudget, scope: bytes
    ) -> tuple[Identity, ...] | None:
        """Looks up the identities of images that were seen before; never waits.

        An image in the request is known by its bytes; an image behind a URL is known while the
        fetched response is fresh. What `take` refuses without work is refused here too.

        Args:
            sources: The images of one request.
            budget: The pixel budget of each; a source's own range may lower it.
            scope: The tenant's salt; images of one scope are not known in another.

        Returns:
            The identities in the order of the sources; None if `take` is needed to get them.

        Raises:
            RequestTooLarge, ImageTooLarge, UrlBlocked: As `take` does.
        """
        self._check_count(sources)
        sizes = Allowance.of_bytes(self._limits.max_body_bytes)
        pixels = Allowance.of_pixels(self._limits.max_request_pixels)
        identities = []
        for source in sources:
            with _blamed_on(source):
                identity = self._known(source, source.pixels.within(budget), scope, sizes)
                if identity is None:
                    return None
                pixels.take(identity.original_pixels)
            identities.append(identity)
        self._recognised += 1
        return tuple(identities)

    async def hash_large(self, sources: Sequence[Source]) -> None:
        """Hashes large images in a thread, so that `recognise` does not block the event loop.

        Skips requests that `recognise` refuses for the number or size of their images.
        """
        sizes = [source.size for source in sources if not isinstance(source, UrlSource)]
        limits = self._limits
        if (
            max(sizes, default=0) < _LARGE_BYTES
            or len(sources) > limits.max_images
            or max(sizes) > limits.max_image_bytes
            or sum(sizes) > limits.max_body_bytes
        ):
            return
        for source in sources:
            if not isinstance(source, UrlSource) and source.size >= _LARGE_BYTES:
                await asyncio.to_thread(getattr, source, "digest")

    def holding(self, scope: bytes) -> AbstractContextManager[Claim]:
        """Reserves memory for a request's decoded images until the block ends.

        `scope` is the tenant's salt, as for `recognise`.
        """
        return self._decoded.claim(scope)

    async def take(
        self,
        sources: Sequence[Source],
        budget: PixelBudget,
        scope: bytes,
        held: Claim | None = None,
    ) -> TakenImages:
        """Fetches, decodes, normalises and resizes the images of one request.

        The `param` of an error names the source that caused it.

        Args:
            sources: The images of one request.
            budget: The pixel budget of each; a source's own range may lower it.
            scope: The tenant's salt; see `recognise`.
            held: The claim from `holding`, which grows by the decoded images; None for a caller
                that takes few images at a time.

        Raises:
            RequestTooLarge: There are too many images, or they have too many bytes together.
            ImageTooLarge: An image has too many bytes or pixels, or all have too many together.
            InvalidRequest: The Base64 text is invalid, or an aspect ratio is too extreme.
            UrlBlocked, ImageFetchFailed, DeadlineExceeded: See `Fetcher.fetch`.
            ImageFormat, ImageUndecodable, ShuttingDown: See `DecoderPool.decode`.
            Overloaded: There is no memory left for images, or no decoder can be started.
        """
        self._check_count(sources)
        taking = _Taking(self._limits, budget, scope, len(sources), held)
        sent = [
            (source, await self._sent(source, taking))
            for source in sources
            if not isinstance(source, UrlSource)
        ]
        await _together([self._count_pixels(source, loaded, taking) for source, loaded in sent])
        ready = iter(sent)
        decoded = await _together(
            [
                self._fetch(source, taking)
                if isinstance(source, UrlSource)
                else self._take_sent(*next(ready), taking)
                for source in sources
            ]
        )
        return TakenImages(
            tuple(image.image for image in decoded),
            tuple(image.identity for image in decoded),
            _timeline(taking, decoded),
        )

    def _check_count(self, sources: Sequence[Source]) -> None:
        if len(sources) > self._limits.max_images:
            raise RequestTooLarge(
                f"The request has {len(sources)} images; at most {self._limits.max_images} are "
                "allowed. Send fewer."
            )

    def _check_size(self, source: SentSource, allowance: Allowance) -> None:
        """Checks an image in the request against the byte limits."""
        if source.exceeds(self._limits.max_image_bytes):
            raise too_many_bytes(self._limits.max_image_bytes)
        allowance.take(source.size)

    def _known(
        self, source: Source, budget: PixelBudget, scope: bytes, allowance: Allowance
    ) -> Identity | None:
        """The identity of an image if it is known, else None."""
        if isinstance(source, UrlSource):
            self._loader.admit(source.url)
        else:
            self._check_size(source, allowance)
        if isinstance(source, UploadSource):
            return self._known_images.image(scope, source.digest, budget)
        encoded = self._known_images.source(scope, _name(source))
        if encoded is None:
            return None
        if isinstance(source, UrlSource):
            allowance.take(encoded.size)
        return self._known_images.image(scope, encoded.digest, budget)

    async def _sent(self, source: SentSource, taking: _Taking) -> Loaded:
        """Checks and unpacks an image in the request."""
        with _blamed_on(source):
            self._check_size(source, taking.bytes)
            strict = self._limits.strict_base64
            if source.size >= _LARGE_BYTES:
                return await asyncio.to_thread(_unpacked, source, strict=strict)
            return _unpacked(source, strict=strict)

    async def _fetch(self, source: UrlSource, taking: _Taking) -> Decoded:
        with _blamed_on(source):
            async with AsyncExitStack() as held:
                async with taking.slots:
                    fetch = self._loader.fetch(source.url, taking.scope, taking.bytes.take)
                    loaded = await held.enter_async_context(fetch)
                taking.fetched = time.perf_counter()
                await self._count_pixels(source, loaded, taking)
                decoded = await self._decode(source, loaded, taking)
            # Only now: the oldest request may wait for the memory that these encoded bytes held.
            await _hold(decoded, taking)
            return decoded

    async def _take_sent(self, source: SentSource, loaded: Loaded, taking: _Taking) -> Decoded:
        with _blamed_on(source):
            decoded = await self._decode(source, loaded, taking)
            await _hold(decoded, taking)
            return decoded

    async def _count_pixels(self, source: Source, loaded: Loaded, taking: _Taking) -> None:
        """Counts an image's pixels before decoding, if the request could exceed its limit."""
        if taking.pixels is not None:
            with _blamed_on(source):
                taking.pixels.take(await self._loader.pixels(loaded.data, taking.scope))

    async def _decode(self, source: Source, loaded: Loaded, taking: _Taking) -> Decoded:
        scope, budget = taking.scope, source.pixels.within(taking.budget)
        with _blamed_on(source):
            decoded = await self._loader.decode(loaded, scope, budget)
        self._known_images.learn_image(scope, loaded.encoded.digest, budget, decoded.identity)
        if not isinstance(source, UploadSource):
            self._known_images.learn_source(scope, _name(source), loaded.encoded)
        return decoded


async def _hold(decoded: Decoded, taking: _Taking) -> None:
    """Waits until there is memory for a decoded image."""
    if taking.held is not None:
        await taking.held.grow(len(decoded.image.pixels))


def _unpacked(source: SentSource, *, strict: bool) -> Loaded:
    """The bytes of an image in the request, and their digest."""
    if isinstance(source, UploadSource):
        data, hashed = source.data, source.digest
    else:
        data = source.decode(strict=strict)
        hashed = digest(data)
    return Loaded(data, Encoded(hashed, len(data), fresh_until=math.inf))


def _name(source: UrlSource | EncodedSource) -> Name:
    """The key under which a source is remembered."""
    if isinstance(source, UrlSource):
        return str(source.url.url)
    return source.digest


@contextmanager
def _blamed_on(source: Source) -> Iterator[None]:
    """Sets `param` to the source's field in errors that do not have one."""
    try:
        yield
    except SilklineError as error:
        error.param = error.param or source.param
        raise


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


def _timeline(taking: _Taking, decoded: Sequence[Decoded]) -> Timeline:
    """Wall time by stage; the time after the last fetch is split like the images' own times."""
    now = time.perf_counter()
    since = taking.begun if taking.fetched is None else taking.fetched
    spent = Timeline() if taking.fetched is None else Timeline({Stage.FETCH: since - taking.begun})
    own = Timeline()
    for image in decoded:
        own = own.plus(Timeline(image.seconds))
    total = sum(own.seconds.values())
    if total == 0:
        return spent
    return spent.plus(
        Timeline({stage: (now - since) * seconds / total for stage, seconds in own.seconds.items()})
    )
