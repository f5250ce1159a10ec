"""The one decoder: a pool of child processes, each of which decodes one picture at a time.

A child that crashes, hangs or runs out of memory costs the picture that it had, and nothing else:
it is replaced while the next picture goes to another. Each job holds its child until the reply has
been read to its end or the child has been ended, also when nobody waits for the picture any more,
so no reply is ever taken for another's.
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
from silkline.core import Image, PixelBudget, Stage
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
    RefusedMessage,
    Reply,
    SizeMessage,
)
from silkline.ingress.decoder_wire import Refusal
from silkline.ingress.formats import sniff
from silkline.ingress.identity import Identity
from silkline.ingress.lifespan import Lifespan

logger = logging.getLogger("silkline.decoder")

_RGB_BYTES = 3

_Result = TypeVar("_Result")
_Wanted = TypeVar("_Wanted", SizeMessage, ImageMessage)


@dataclass(frozen=True, slots=True)
class Decoded:
    """A picture and what it took.

    Attributes:
        image: The normalised picture, within its budget.
        identity: What is remembered of it.
        seconds: Seconds in `Stage.DECODE`, waiting for a free child included, and `Stage.RESIZE`.
    """

    image: Image
    identity: Identity
    seconds: dict[Stage, float]


@dataclass(frozen=True, slots=True)
class _Job(Generic[_Wanted]):
    """What is asked of a child, and the bounds of a true answer."""

    wanted: type[_Wanted]
    header: bytes
    data: bytes
    max_pixels: int
    scope: bytes
    max_body: int = 0


@dataclass(slots=True, eq=False)
class _Slot:
    """A place for a child; empty after one could not be started."""

    link: DecoderLink | None = None


class DecoderPool(Lifespan):
    """Decodes pictures; lives in one event loop, between `start` and `aclose`."""

    def __init__(self, settings: DecodeSettings) -> None:
        self._settings = settings
        self._slots = [_Slot() for _ in range(settings.decode_processes)]
        self._idle: FairPool[_Slot] = FairPool()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        """Starts the children.

        Raises:
            EnvironmentFault: They do not start.
        """
        started = await asyncio.gather(
            *(self._fill(slot) for slot in self._slots), return_exceptions=True
        )
        for outcome in started:
            if isinstance(outcome, BaseException):
                await self.aclose()
                raise outcome
        if not all(slot.link and slot.link.confined for slot in self._slots):
            logger.info(
                "decoders' system calls are not filtered here; their limits hold all the same"
            )
        for slot in self._slots:
            self._idle.give(slot)

    async def aclose(self) -> None:
        """Ends the children; who still waits gets `ShuttingDown`. Closing twice is as once."""
        self._idle.close()
        while self._tasks:  # one that ends may have left another behind
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        for slot in self._slots:
            if slot.link is not None:
                await slot.link.end()

    async def size(self, data: bytes, max_pixels: int, scope: bytes = b"") -> tuple[int, int]:
        """Width and height by a picture's header alone, which costs far less than decoding.

        Those of a scope take turns with others, as in `decode`.

        Raises:
            SilklineError: As `decode` does.
        """
        header = self._header("size", data, max_pixels)
        message, _ = await self._run(_Job(SizeMessage, header, data, max_pixels, scope))
        return message.width, message.height

    async def decode(
        self, data: bytes, max_pixels: int, budget: PixelBudget, scope: bytes = b""
    ) -> Decoded:
        """Decodes and normalises a picture; `normalise` describes the outcome.

        Args:
            data: The encoded picture, in any of the formats of `PictureFormat`.
            max_pixels: Most pixels that it may have; checked by its header before it is decoded.
            budget: To what size it is reduced.
            scope: Whose it is; where many wait for a child, the scopes take turns.

        Raises:
            ImageFormat: It is in none of the formats.
            ImageTooLarge: It has too many pixels, or too much text in it.
            ImageUndecodable: It is broken, or its decoding takes too long or too much memory.
            InvalidRequest: It is far longer than wide, or the other way round.
            Overloaded: No child can be started at present.
            ShuttingDown: The pool is closed.
        """
        begun = time.perf_counter()
        limits = (budget.shortest_edge, budget.max_pixels)
        header = self._header("picture", data, max_pixels, budget=limits)
        max_body = budget.max_pixels * _RGB_BYTES
        job = _Job(ImageMessage, header, data, max_pixels, scope, max_body)
        message, pixels = await self._run(job)
        elapsed = time.perf_counter() - begun
        resize = min(message.resize_seconds, elapsed)
        return Decoded(
            Image(message.width, message.height, pixels, message.digest),
            Identity(message.digest, message.original_pixels, int(message.perceptual, 16)),
            {Stage.DECODE: elapsed - resize, Stage.RESIZE: resize},
        )

    def _header(self, op: str, data: bytes, max_pixels: int, **more: object) -> bytes:
        return msgspec.json.encode(
            {
                "op": op,
                "format": sniff(data),
                "max_pixels": max_pixels,
                "cpu_seconds": self._settings.decode_timeout,
                **more,
            }
        )

    async def _run(self, job: _Job[_Wanted]) -> tuple[_Wanted, bytes]:
        """Waits for a free child, then for its reply."""
        task = self._track(self._ask(await self._idle.take(job.scope), job))
        try:
            message, body = await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise shutting_down() from None
            raise
        if isinstance(message, RefusedMessage):
            raise _refused(message.why)
        return cast("_Wanted", message), body

    async def _ask(self, slot: _Slot, job: _Job[_Wanted]) -> Reply:
        """One job. Keeps its slot until the child is free again or has been replaced."""
        try:
            link = slot.link if slot.link and slot.link.alive else await self._fill(slot)
        except EnvironmentFault as error:
            self._idle.give(slot)
            raise Overloaded("The picture decoder cannot be started. Try again later.") from error
        try:
            async with asyncio.timeout(self._settings.decode_timeout):
                reply = await link.ask(job.header, job.data, job.max_body)
            _check(reply, job)
        except TimeoutError as error:
            self._track(self._replace(slot))
            raise ImageUndecodable(
                f"The picture takes longer than {self._settings.decode_timeout:g} s to decode. "
                "Send a simpler one."
            ) from error
        except ChildLost as error:
            self._track(self._replace(slot))
            raise _broke_decoder() from error
        self._idle.give(slot)
        return reply

    async def _fill(self, slot: _Slot) -> DecoderLink:
        """Puts a new child into a slot, for the one that may have been there."""
        if slot.link is not None:
            await slot.link.end()
        slot.link = None
        slot.link = await DecoderLink.spawn(self._settings.decode_memory_bytes)
        return slot.link

    async def _replace(self, slot: _Slot) -> None:
        with contextlib.suppress(EnvironmentFault):  # the next job tries again and reports it
            await self._fill(slot)
        self._idle.give(slot)

    def _track(self, work: Coroutine[Any, Any, _Result]) -> asyncio.Task[_Result]:
        """Runs work that goes on when nobody waits for it, until the pool closes."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._untrack)
        return task

    def _untrack(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # seen, also when the one who waited for it has left


def _check(reply: Reply, job: _Job[_Wanted]) -> None:
    """Holds a reply against what was asked.

    Raises:
        ChildLost: It cannot be true, so the child is not to be trusted any more.
    """
    message, body = reply
    if not isinstance(message, (job.wanted, RefusedMessage)):
        raise ChildLost
    pixels, expected = 0, 0
    if isinstance(message, SizeMessage):
        pixels = message.width * message.height
    elif isinstance(message, ImageMessage):
        pixels = message.original_pixels
        expected = message.width * message.height * _RGB_BYTES
    if pixels > job.max_pixels or len(body) != expected:
        raise ChildLost


def _refused(why: Refusal) -> InputError:
    """The words for a refusal, which come from here and never from the child."""
    match why:
        case Refusal.TOO_MANY_PIXELS:
            return ImageTooLarge("The picture has too many pixels. Send a smaller one.")
        case Refusal.TOO_MUCH_METADATA:
            return ImageTooLarge("The picture holds too much text. Send it without metadata.")
        case Refusal.TOO_ELONGATED:
            return InvalidRequest("The picture is far longer than wide. Send a part of it.")
        case Refusal.OUT_OF_MEMORY:
            return ImageUndecodable("The picture takes too much memory to decode. Send another.")
        case Refusal.UNDECODABLE:
            return ImageUndecodable("The picture is damaged or incomplete. Send another one.")


def _broke_decoder() -> ImageUndecodable:
    return ImageUndecodable("The picture broke its decoder. Send another one, or save it anew.")
