"""The image decoder: pools of child processes, each of which decodes one image at a time.

A child decodes images or renders pages of documents. Those for documents hold PDFium, and are only
started when a document comes.

When a child crashes, hangs or runs out of memory, only the image that it was decoding fails. The
child is replaced while the next image goes to another child. Each job holds its child until the
reply has been read completely or the child has been killed, even if the caller has been cancelled,
so a reply is never matched to the wrong request.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import msgspec

from silkline.aio.fair_pool import FairPool
from silkline.config import DecodeSettings
from silkline.core import EncodedImage, Image, PixelBudget, Stage
from silkline.errors import (
    EnvironmentFault,
    ImageTooLarge,
    ImageUndecodable,
    InputError,
    InvalidRequest,
    Overloaded,
    shutting_down,
)
from silkline.ingress.decoder_link import (
    ChildLost,
    DecoderLink,
    ImageMessage,
    PagesMessage,
    RefusedMessage,
    Reply,
    SizeMessage,
)
from silkline.ingress.decoder_wire import Refusal
from silkline.ingress.formats import DOCUMENT, sniff
from silkline.ingress.identity import Identity
from silkline.ingress.lifespan import Lifespan
from silkline.ingress.wanted import Wanted

logger = logging.getLogger("silkline.decoder")

RGB_BYTES = 3

_Result = TypeVar("_Result")
_Expected = TypeVar("_Expected", SizeMessage, PagesMessage, ImageMessage)


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded image and the time that decoding took.

    Attributes:
        image: The normalised image, within its budget.
        identity: Its digests and original size.
        seconds: Seconds in `Stage.DECODE`, including the wait for a free child, and `Stage.RESIZE`.
    """

    image: Image
    identity: Identity
    seconds: dict[Stage, float]


@dataclass(frozen=True, slots=True)
class DecoderSnapshot:
    """The status of a pool.

    Attributes:
        processes: Children that run.
        busy: Children that decode.
        waiting: Images that wait for a child.
        replaced: Children that crashed or took too long, since the start.
    """

    processes: int
    busy: int
    waiting: int
    replaced: int


@dataclass(frozen=True, slots=True)
class _Job(Generic[_Expected]):
    """A request to a child, and the limits that a valid reply keeps to."""

    expected: type[_Expected]
    header: bytes
    data: bytes
    max_pixels: int
    scope: bytes
    max_body: int = 0
    file_only: bool = False


@dataclass(slots=True, eq=False)
class _Slot:
    """A slot for one child; empty after a child failed to start."""

    link: DecoderLink | None = None


class DecoderPool(Lifespan):
    """Decodes images in child processes. Use it in one event loop, between `start` and `aclose`."""

    def __init__(self, settings: DecodeSettings, *, documents: bool = False) -> None:
        """Reads the settings; starts nothing yet.

        Args:
            settings: The number of children, and their limits.
            documents: Whether the children render documents; they then start when needed.
        """
        self._settings = settings
        self._documents = documents
        self._noun = "document" if documents else "image"
        self._slots = [_Slot() for _ in range(settings.decode_processes)]
        self._idle: FairPool[_Slot] = FairPool()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._replaced = 0

    def snapshot(self) -> DecoderSnapshot:
        """Returns the current status; never waits."""
        return DecoderSnapshot(
            processes=sum(slot.link is not None and slot.link.alive for slot in self._slots),
            busy=self._idle.taken,
            waiting=self._idle.waiting,
            replaced=self._replaced,
        )

    async def start(self) -> None:
        """Starts the children, except those for documents.

        Raises:
            EnvironmentFault: A child does not start.
        """
        at_once = () if self._documents else self._slots
        started = await asyncio.gather(
            *(self._fill(slot) for slot in at_once), return_exceptions=True
        )
        for outcome in started:
            if isinstance(outcome, BaseException):
                await self.aclose()
                raise outcome
        if not all(slot.link and slot.link.confined for slot in at_once):
            logger.info(
                "no system call filter for decoding processes on this system; "
                "their resource limits still apply"
            )
        for slot in self._slots:
            self._idle.give(slot)

    async def aclose(self) -> None:
        """Kills the children; pending calls raise `ShuttingDown`. Idempotent."""
        self._idle.close()
        while self._tasks:  # a task may have started another one before it ended
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        for slot in self._slots:
            if slot.link is not None:
                await slot.link.end()

    async def size(self, data: bytes, max_pixels: int, scope: bytes = b"") -> tuple[int, int]:
        """Reads an image's width and height from its header, which is much cheaper than decoding.

        Scopes take turns, as in `decode`.

        Raises:
            SilklineError: As `decode` does.
        """
        header = self._header("size", max_pixels, format=sniff(data))
        message, _ = await self._run(_Job(SizeMessage, header, data, max_pixels, scope))
        return message.width, message.height

    async def pages(self, data: bytes, max_pixels: int, scope: bytes = b"") -> int:
        """Counts the pages of a document. Raises as `decode` does."""
        job = _Job(PagesMessage, self._header("pages", max_pixels), data, max_pixels, scope)
        message, _ = await self._run(job)
        return message.count

    async def decode(
        self,
        data: bytes,
        max_pixels: int,
        budget: PixelBudget,
        scope: bytes = b"",
        page: int | None = None,
        wanted: Wanted = Wanted.PIXELS,
    ) -> Decoded:
        """Decodes and normalises an image, or renders a page of a document.

        `normalise` and `documents` describe the outcome.

        Args:
            data: The encoded image, in any of the formats of `FileFormat`, or the document.
            max_pixels: Maximum number of pixels; checked in the header before decoding.
            budget: The pixel budget of the image.
            scope: The tenant that sent it. Scopes take turns when requests wait for a child.
            page: The index of the page, from 0, if these children render documents.
            wanted: Whether the image gets its pixels, its file or both.

        Raises:
            ImageFormat: The image is in none of the supported formats.
            ImageTooLarge: It has too many pixels, or too much text metadata.
            ImageUndecodable: It is broken, or decoding takes too long or too much memory.
            InvalidRequest: Its aspect ratio is too extreme.
            Overloaded: No child can be started at the moment.
            ShuttingDown: The pool is closed.
        """
        begun = time.perf_counter()
        limits = (budget.shortest_edge, budget.max_pixels, budget.min_pixels)
        if page is None:
            header = self._header(
                "picture",
                max_pixels,
                budget=limits,
                format=sniff(data),
                needs_pixels=wanted.has_pixels,
            )
        else:
            dpi = self._settings.document_dpi
            header = self._header("page", max_pixels, budget=limits, page=page, dpi=dpi)
        max_body = budget.max_pixels * RGB_BYTES
        file_only = page is None and not wanted.has_pixels
        job = _Job(ImageMessage, header, data, max_pixels, scope, max_body, file_only=file_only)
        message, pixels = await self._run(job)
        elapsed = time.perf_counter() - begun
        resize = min(message.resize_seconds, elapsed)
        # A file larger than the pixels has little more than metadata.
        is_small = len(data) <= message.width * message.height * RGB_BYTES
        kept = page is None and wanted.has_file and message.unchanged and is_small
        file = EncodedImage(data, sniff(data).media_type) if kept else None
        return Decoded(
            Image(message.width, message.height, pixels, message.digest, file),
            Identity(
                message.digest,
                message.original_pixels,
                int(message.perceptual, 16) if page is None else None,
                message.width,
                message.height,
                sniff(data).value.lower() if page is None else DOCUMENT,
                message.brightness,
            ),
            {Stage.DECODE: elapsed - resize, Stage.RESIZE: resize},
        )

    def _header(self, op: str, max_pixels: int, **more: object) -> bytes:
        return msgspec.json.encode(
            {
                "op": op,
                "max_pixels": max_pixels,
                "cpu_seconds": self._settings.decode_timeout,
                **more,
            }
        )

    async def _run(self, job: _Job[_Expected]) -> tuple[_Expected, bytes]:
        """Waits for a free child, then for its reply."""
        task = self._track(self._ask(await self._idle.take(job.scope), job))
        try:
            message, body = await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise shutting_down() from None
            raise
        if isinstance(message, RefusedMessage):
            raise _refused(message.why, self._noun)
        return cast("_Expected", message), body

    async def _ask(self, slot: _Slot, job: _Job[_Expected]) -> Reply:
        """Runs one job. Holds its slot until the child is free again or has been replaced."""
        try:
            link = slot.link if slot.link and slot.link.alive else await self._fill(slot)
        except EnvironmentFault as error:
            self._idle.give(slot)
            raise Overloaded("The image decoder cannot be started. Try again later.") from error
        try:
            async with asyncio.timeout(self._settings.decode_timeout):
                reply = await link.ask(job.header, job.data, job.max_body)
            _check(reply, job)
        except TimeoutError as error:
            self._track(self._replace(slot))
            raise ImageUndecodable(
                f"The {self._noun} takes longer than {self._settings.decode_timeout:g} s to decode."
                f" Send a smaller or simpler {self._noun}."
            ) from error
        except ChildLost as error:
            self._track(self._replace(slot))
            raise _broke_decoder(self._noun) from error
        self._idle.give(slot)
        return reply

    async def _fill(self, slot: _Slot) -> DecoderLink:
        """Starts a new child in a slot; ends the previous child, if any."""
        if slot.link is not None:
            await slot.link.end()
        slot.link = None
        slot.link = await DecoderLink.spawn(
            self._settings.decode_memory_bytes, documents=self._documents
        )
        return slot.link

    async def _replace(self, slot: _Slot) -> None:
        self._replaced += 1
        with contextlib.suppress(EnvironmentFault):  # the next job tries again and reports it
            await self._fill(slot)
        self._idle.give(slot)

    def _track(self, work: Coroutine[Any, Any, _Result]) -> asyncio.Task[_Result]:
        """Runs work in a task that survives its caller and is cancelled when the pool closes."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._untrack)
        return task

    def _untrack(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # marks it as retrieved, in case the caller was cancelled


def _check(reply: Reply, job: _Job[_Expected]) -> None:
    """Checks that a reply is possible for its job.

    Raises:
        ChildLost: It is not, so the child can no longer be trusted.
    """
    message, body = reply
    if not isinstance(message, (job.expected, RefusedMessage)):
        raise ChildLost
    pixels, expected = 0, 0
    if isinstance(message, SizeMessage):
        pixels = message.width * message.height
    elif isinstance(message, ImageMessage):
        pixels = message.original_pixels
        expected = message.width * message.height * RGB_BYTES
        if job.file_only and message.unchanged and len(job.data) <= expected:
            expected = 0
    if pixels > job.max_pixels or len(body) != expected:
        raise ChildLost


def _refused(why: Refusal, noun: str) -> InputError:
    """The error for a refusal of an image or a document.

    Its text is written here and never comes from the child.
    """
    match why:
        case Refusal.TOO_MANY_PIXELS:
            return ImageTooLarge("The image has too many pixels. Send a smaller image.")
        case Refusal.TOO_MUCH_METADATA:
            return ImageTooLarge("The image has too much text metadata. Send it without metadata.")
        case Refusal.TOO_ELONGATED:
            return InvalidRequest(
                f"One side of the {noun} is more than 200 times as long as the other. Crop it."
            )
        case Refusal.ENCRYPTED:
            return ImageUndecodable(
                f"The {noun} is encrypted. Send it without a password, or images of its pages."
            )
        case Refusal.OUT_OF_MEMORY:
            return ImageUndecodable(
                f"The {noun} takes too much memory to decode. Send a different {noun}."
            )
        case Refusal.UNDECODABLE:
            return ImageUndecodable(
                f"The {noun} is damaged or incomplete. Send a complete file or a different {noun}."
            )


def _broke_decoder(noun: str) -> ImageUndecodable:
    return ImageUndecodable(
        f"The {noun} crashed its decoder. Save the {noun} again, or send a different one."
    )
