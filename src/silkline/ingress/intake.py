"""The pictures of a request, from what the client sent to normalised images.

In two steps, so that a request whose answer is known costs next to nothing: `recognise` tells by
what was sent which pictures these are, where they were seen before; `take` brings them in.

All that can be told without work is told first: number, encoded sizes, URL grammar. Then each
picture goes its own way: it is fetched, where the pictures of a request could exceed its pixels in
sum its header is read and counted, and only then is it decoded, so a fetched picture never waits
for another one. The first picture that fails ends the rest.
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
"""Images of this size and above are hashed and unpacked in a thread: it takes about 1 ms."""

_Outcome = TypeVar("_Outcome")


@dataclass(frozen=True, slots=True)
class TakenImages:
    """The pictures of a request.

    Attributes:
        images: In the order of their sources.
        identities: What is remembered of each.
        timeline: Wall time until all were fetched, and that of decoding and resizing from then on;
            pictures that are worked on at the same time do not add up.
    """

    images: tuple[Image, ...]
    identities: tuple[Identity, ...]
    timeline: Timeline


@dataclass(frozen=True, slots=True)
class IntakeSnapshot:
    """How the intake gets on.

    Attributes:
        recognised: Requests since the start all of whose pictures were known.
        known: Sources and pictures that are known now.
        known_bytes: About what they take.
        loading: How fetching and decoding get on.
    """

    recognised: int
    known: int
    known_bytes: int
    loading: LoadingSnapshot


class _Taking:
    """What `take` counts and measures for one request."""

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
            limits: What may be asked for.
            fetch: How pictures are fetched.
            decode: How they are decoded.
            resolver: Turns host names into addresses; the system's own by default.

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
        """Ends the decoding processes and closes all connections. Closing twice is as once."""
        await self._loader.aclose()

    def snapshot(self) -> IntakeSnapshot:
        """How it gets on; never waits."""
        return IntakeSnapshot(
            recognised=self._recognised,
            known=self._known_images.entries,
            known_bytes=self._known_images.size_bytes,
            loading=self._loader.snapshot(),
        )

    def recognise(
        self, sources: Sequence[Source], budget: PixelBudget, scope: bytes
    ) -> tuple[Identity, ...] | None:
        """Which pictures these are, where all of them are known; never waits.

        A picture that was sent along is known by its bytes, one behind a URL as long as what was
        fetched is fresh. Whatever `take` would refuse without work is refused here too.

        Args:
            sources: The pictures of one request.
            budget: To what size they are to be reduced.
            scope: The tenant's salt; what came in one scope is not known in another.

        Returns:
            The identities in the order of the sources; None where `take` is needed to know.

        Raises:
            RequestTooLarge, ImageTooLarge, UrlBlocked: As `take` does.
        """
        self._check_count(sources)
        sizes = Allowance.of_bytes(self._limits.max_body_bytes)
        pixels = Allowance.of_pixels(self._limits.max_request_pixels)
        identities = []
        for source in sources:
            with _blamed_on(source):
                identity = self._known(source, budget, scope, sizes)
                if identity is None:
                    return None
                pixels.take(identity.original_pixels)
            identities.append(identity)
        self._recognised += 1
        return tuple(identities)

    async def hash_large(self, sources: Sequence[Source]) -> None:
        """Hashes large images outside the event loop, so that `recognise` finds them hashed.

        Those that `recognise` refuses for their number or size are left alone.
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
        """What a request's decoded pictures are held by, until the block ends; see `recognise`."""
        return self._decoded.claim(scope)

    async def take(
        self,
        sources: Sequence[Source],
        budget: PixelBudget,
        scope: bytes,
        held: Claim | None = None,
    ) -> TakenImages:
        """Fetches, decodes, normalises and reduces the pictures of one request.

        An error's `param` is that of the source at fault.

        Args:
            sources: The pictures of one request.
            budget: To what size they are reduced.
            scope: The tenant's salt; see `recognise`.
            held: Grows by the decoded pictures, see `holding`; None for who takes few at a time.

        Raises:
            RequestTooLarge: The pictures are too many, or have too many bytes together.
            ImageTooLarge: One has too many bytes or pixels, or all have too many pixels together.
            InvalidRequest: Base64 is broken, or a picture is far longer than wide.
            UrlBlocked, ImageFetchFailed, DeadlineExceeded: See `Fetcher.fetch`.
            ImageFormat, ImageUndecodable, ShuttingDown: See `DecoderPool.decode`.
            Overloaded: There is no room for pictures, or no decoder can be started.
        """
        self._check_count(sources)
        taking = _Taking(self._limits, budget, scope, len(sources), held)
        sent = [
            (source, await self._sent(source, taking))
            for source in sources
            if not isinstance(source, UrlSource)
        ]
        await _together([self._count_pixels(*each, taking) for each in sent])
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
                f"The request has {len(sources)} pictures; at most {self._limits.max_images} are "
                "taken."
            )

    def _check_size(self, source: SentSource, allowance: Allowance) -> None:
        """Holds a picture that came with the request to the limits of bytes."""
        if source.exceeds(self._limits.max_image_bytes):
            raise too_many_bytes(self._limits.max_image_bytes)
        allowance.take(source.size)

    def _known(
        self, source: Source, budget: PixelBudget, scope: bytes, allowance: Allowance
    ) -> Identity | None:
        """What is remembered of a picture."""
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
        """A picture that came with the request."""
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
            # Not before: the oldest request may wait for the room that its encoded bytes took.
            await _hold(decoded, taking)
            return decoded

    async def _take_sent(self, source: SentSource, loaded: Loaded, taking: _Taking) -> Decoded:
        with _blamed_on(source):
            decoded = await self._decode(source, loaded, taking)
            await _hold(decoded, taking)
            return decoded

    async def _count_pixels(self, source: Source, loaded: Loaded, taking: _Taking) -> None:
        """Counts the pixels of a picture before it is decoded, where they could be too many."""
        if taking.pixels is not None:
            with _blamed_on(source):
                taking.pixels.take(await self._loader.pixels(loaded.data, taking.scope))

    async def _decode(self, source: Source, loaded: Loaded, taking: _Taking) -> Decoded:
        scope, budget = taking.scope, taking.budget
        with _blamed_on(source):
            decoded = await self._loader.decode(loaded, scope, budget)
        self._known_images.learn_image(scope, loaded.encoded.digest, budget, decoded.identity)
        if not isinstance(source, UploadSource):
            self._known_images.learn_source(scope, _name(source), loaded.encoded)
        return decoded


async def _hold(decoded: Decoded, taking: _Taking) -> None:
    """Waits for room for a decoded picture."""
    if taking.held is not None:
        await taking.held.grow(len(decoded.image.pixels))


def _unpacked(source: SentSource, *, strict: bool) -> Loaded:
    """The bytes of a picture that came with the request, and their digest."""
    if isinstance(source, UploadSource):
        data, hashed = source.data, source.digest
    else:
        data = source.decode(strict=strict)
        hashed = digest(data)
    return Loaded(data, Encoded(hashed, len(data), fresh_until=math.inf))


def _name(source: UrlSource | EncodedSource) -> Name:
    """By what a source is known."""
    if isinstance(source, UrlSource):
        return str(source.url.url)
    return source.digest


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


def _timeline(taking: _Taking, decoded: Sequence[Decoded]) -> Timeline:
    """Wall time, of which that after the last fetch is divided as the pictures' own times are."""
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
        Timeline({stage: (now - since) * each / total for stage, each in own.seconds.items()})
    )
