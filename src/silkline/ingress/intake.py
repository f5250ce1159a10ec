"""Turns the image sources of a request into normalised images.

There are two steps, so that a request with a cached answer costs almost nothing: `recognise` looks
up images that were seen before, and `take` fetches and decodes them (`taking`).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from silkline.aio.byte_budget import ByteBudget, Claim
from silkline.config import DecodeSettings, FetchSettings, LimitSettings
from silkline.core import PixelBudget
from silkline.ingress.allowance import Allowance
from silkline.ingress.decode import RGB_BYTES
from silkline.ingress.fetch import Resolver
from silkline.ingress.identity import Recognised
from silkline.ingress.known_images import Encoded, KnownImages
from silkline.ingress.lifespan import Lifespan
from silkline.ingress.loading import PATIENCE_SHARE, Loader, LoadingSnapshot
from silkline.ingress.source import Source, UploadSource, UrlSource
from silkline.ingress.taking import (
    LARGE_BYTES,
    TakenImages,
    Taking,
    blamed_on,
    check_count,
    check_size,
    name_of,
)
from silkline.ingress.wanted import Wanted


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


class Intake(Lifespan):
    """Fetches, decodes and recognises images in one event loop, between `start` and `aclose`."""

    def __init__(
        self,
        limits: LimitSettings,
        fetch: FetchSettings,
        decode: DecodeSettings,
        resolver: Resolver | None = None,
        *,
        keeps_both: bool = False,
    ) -> None:
        """Reads the settings; starts nothing yet.

        Args:
            limits: Limits of a request.
            fetch: Settings of fetching.
            decode: Settings of decoding.
            resolver: Resolves host names; the system's resolver by default.
            keeps_both: Whether there are models that want `Wanted.PIXELS_AND_FILE`.

        Raises:
            ConfigError: A host in the settings is malformed.
        """
        self._limits = limits
        self._loader = Loader(limits, fetch, decode, resolver)
        self._known_images = KnownImages(decode.identity_memory_bytes)
        self._recognised = 0
        worst = RGB_BYTES * limits.max_request_pixels
        if keeps_both:  # a kept file is not larger than its pixels
            worst += min(worst, limits.max_body_bytes)
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
        self,
        sources: Sequence[Source],
        budget: PixelBudget,
        scope: bytes,
        wanted: Wanted = Wanted.PIXELS,
    ) -> tuple[Recognised, ...] | None:
        """Looks up the identities of images that were seen before; never waits.

        An image in the request is known by its bytes; an image behind a URL is known while the
        fetched response is fresh. What `take` refuses without work is refused here too.

        Args:
            sources: The images of one request.
            budget: The pixel budget of each; a source's own range may lower it.
            scope: The tenant's salt; images of one scope are not known in another.
            wanted: As for `take`.

        Returns:
            The identities by source, in order; None if `take` is needed to get them.

        Raises:
            RequestTooLarge, ImageTooLarge, UrlBlocked: As `take` does.
        """
        check_count(len(sources), self._limits)
        sizes = Allowance.of_bytes(self._limits.max_body_bytes)
        pixels = Allowance.of_pixels(self._limits.max_request_pixels)
        recognised = []
        for source in sources:
            with blamed_on(source):
                own = source.pixels.within(budget)
                found = self._known(source, own, scope, sizes, wanted)
                if found is None:
                    return None
                for identity in found.images:
                    pixels.take(identity.original_pixels)
            recognised.append(found)
        check_count(sum(len(found.images) for found in recognised), self._limits)
        self._recognised += 1
        return tuple(recognised)

    async def hash_large(self, sources: Sequence[Source]) -> None:
        """Hashes large images in a thread, so that `recognise` does not block the event loop.

        Skips requests that `recognise` refuses for the number or size of their images.
        """
        sizes = [source.size for source in sources if not isinstance(source, UrlSource)]
        limits = self._limits
        if (
            max(sizes, default=0) < LARGE_BYTES
            or len(sources) > limits.max_images
            or max(sizes) > limits.max_image_bytes
            or sum(sizes) > limits.max_body_bytes
        ):
            return
        for source in sources:
            if not isinstance(source, UrlSource) and source.size >= LARGE_BYTES:
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
        wanted: Wanted = Wanted.PIXELS,
    ) -> TakenImages:
        """Fetches, decodes, normalises and resizes the images of one request.

        The `param` of an error names the source that caused it.

        Args:
            sources: The images of one request.
            budget: The pixel budget of each; a source's own range may lower it.
            scope: The tenant's salt; see `recognise`.
            held: The claim from `holding`, which grows by the decoded images; None for a caller
                that takes few images at a time.
            wanted: Whether the images get their pixels, their files or both.

        Raises:
            RequestTooLarge: There are too many images, or they have too many bytes together.
            ImageTooLarge: An image has too many bytes or pixels, or all have too many together.
            InvalidRequest: The Base64 text is invalid, or an aspect ratio is too extreme.
            UrlBlocked, ImageFetchFailed, DeadlineExceeded: See `Fetcher.fetch`.
            ImageFormat, ImageUndecodable, ShuttingDown: See `DecoderPool.decode`.
            Overloaded: There is no memory left for images, or no decoder can be started.
        """
        taking = Taking(self._limits, self._loader, self._known_images, budget, scope, held, wanted)
        return await taking.take(sources)

    def _known(
        self,
        source: Source,
        budget: PixelBudget,
        scope: bytes,
        allowance: Allowance,
        wanted: Wanted,
    ) -> Recognised | None:
        """The identities of a source's images if they are known, else None."""
        if isinstance(source, UrlSource):
            self._loader.admit(source.url)
        else:
            check_size(source, allowance, self._limits)
        if isinstance(source, UploadSource):
            encoded = Encoded(source.digest, source.size, math.inf)
        else:
            known = self._known_images.source(scope, name_of(source))
            if known is None:
                return None
            encoded = known
        if isinstance(source, UrlSource):
            allowance.take(encoded.size)
        images = self._known_images.images(scope, encoded.digest, budget, wanted)
        return None if images is None else Recognised(images, encoded.mends)
