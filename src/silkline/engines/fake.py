"""The fake engine: deterministic, scriptable, public, for tests of everything around an engine.

It computes nothing, but behaves as a real engine does: requests join a batch and leave it between
steps, a prompt takes time and each token does, tokens may end inside a character, and a request can
be told to crash the process, hang the engine, exhaust the memory or be slow.

    engine = create_engine("fake", EngineOptions(extra={"mode": "echo", "token_seconds": "0.01"}))
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import time
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from silkline.core import (
    Delta,
    EngineInfo,
    FinishReason,
    Health,
    Image,
    ImagePart,
    Request,
    Stage,
    TextPart,
    Timeline,
    Usage,
)
from silkline.engines.base import Engine, EngineOptions
from silkline.engines.extra_options import read_extra
from silkline.engines.fake_options import FakeOptions
from silkline.engines.sampling import COLDEST, answer_room
from silkline.engines.text_stream import TextStream
from silkline.errors import (
    CapacityError,
    DeadlineExceeded,
    EnvironmentFault,
    InvalidRequest,
    Overloaded,
    ShuttingDown,
    WorkerLost,
    not_running,
)

CRASH_EXIT_CODE = 70
"""What the process exits with when a request crashes it."""

_VOCABULARY = """
a red blue green striped plain mug lamp chair bottle watch sneaker backpack with on beside small
large soft bright wooden ceramic café crème 陶瓷 one two three label handle shelf
"""
WORDS = tuple(_VOCABULARY.split())
"""What answers are made of; some words are longer in bytes than in characters."""

_TOKEN = re.compile(rb" ?[0-9A-Za-z]{1,8}|.", re.DOTALL)
_END = -1


def create_engine(options: EngineOptions) -> Engine:
    """Builds a fake engine. Raises `ConfigError` when `options.extra` is not a `FakeOptions`."""
    script = read_extra(options.extra, FakeOptions, "fake")
    return FakeEngine(options.max_batch, script, options.name)


@dataclass(eq=False, slots=True)
class _Slot:
    """A request in the engine."""

    prompt: str
    prompt_tokens: int
    image_tokens: int
    answer: list[bytes]
    limit: int
    output: asyncio.Queue[int | CapacityError] = field(default_factory=asyncio.Queue)
    arrived: float = field(default_factory=time.monotonic)
    admitted: float = 0.0
    prefilled: float = 0.0
    given: int = 0

    def decode(self, tokens: Sequence[int]) -> str:
        """Tokens are places in the answer."""
        return b"".join(self.answer[token] for token in tokens).decode("utf-8", "replace")


class _Reader:
    """The client's side of a slot: makes deltas of its tokens."""

    def __init__(self, slot: _Slot, stop: Sequence[str]) -> None:
        self._slot = slot
        self._text = TextStream(slot.decode, stop)
        self._used = 0

    def read(self, tokens: Sequence[int]) -> Delta:
        """Takes the next tokens; those after the end of the answer are left alone."""
        chunk = ""
        for token in tokens:
            self._used += 1
            if token != _END:
                chunk += self._text.push((token,))
            if token == _END or self._text.stopped:
                return self._last(chunk, FinishReason.STOP)
            if self._used == self._slot.limit:
                return self._last(chunk, FinishReason.LENGTH)
        return Delta(chunk)

    def _last(self, chunk: str, finish: FinishReason) -> Delta:
        slot = self._slot
        seconds = {
            Stage.QUEUE: slot.admitted - slot.arrived,
            Stage.PREFILL: slot.prefilled - slot.admitted,
            Stage.GENERATE: time.monotonic() - slot.prefilled,
        }
        usage = Usage(slot.prompt_tokens, self._used, slot.image_tokens)
        return Delta(chunk + self._text.finish(), finish, usage, Timeline(seconds))


class FakeEngine(Engine):
    """See the module."""

    def __init__(self, max_batch: int, script: FakeOptions, name: str = "") -> None:
        self._name = name or "silkline-fake"
        self._max_batch = max_batch
        self._script = script
        self._waiting: deque[_Slot] = deque()
        self._running: list[_Slot] = []
        self._work = asyncio.Event()
        self._failed = asyncio.Event()
        self._idle = True
        self._last_step = time.monotonic()
        self._loop: asyncio.Task[None] | None = None

    @property
    def info(self) -> EngineInfo:
        """What this engine is."""
        return EngineInfo(
            engine="fake",
            model=self._name,
            revision="0",
            precision="none",
            context_length=self._script.context_length,
            image_tokens=self._script.image_tokens,
            pixels_per_token=self._script.pixels_per_token or None,
        )

    async def start(self) -> None:
        """Begins to take requests."""
        if self._script.start_seconds:
            await asyncio.sleep(self._script.start_seconds)
        if self._script.start_fault:
            raise EnvironmentFault(self._script.start_fault)
        self._loop = asyncio.create_task(self._run())

    async def generate(self, request: Request) -> AsyncGenerator[Delta, None]:
        """Answers one request, as the contract says."""
        if self._loop is None:
            raise not_running()
        if self._failed.is_set():
            raise WorkerLost("The engine has failed; try again.")
        slot = self._slot(request)
        reader = _Reader(slot, request.sampling.stop)
        deadline = asyncio.get_running_loop().time() + request.timeout_seconds
        self._waiting.append(slot)
        self._work.set()
        try:
            while True:
                delta = reader.read(await _next_tokens(slot, deadline))
                if delta.text or delta.finish_reason:
                    yield delta
                if delta.finish_reason:
                    return
        finally:
            self._release(slot)

    def health(self) -> Health:
        """How the simulated batch gets on."""
        return Health(
            running=len(self._running),
            queued=len(self._waiting),
            seconds_since_progress=0.0 if self._idle else time.monotonic() - self._last_step,
        )

    async def failed(self) -> None:
        """Returns when a request has made the engine fail."""
        await self._failed.wait()

    async def aclose(self) -> None:
        """Ends what runs with `ShuttingDown`."""
        loop, self._loop = self._loop, None
        if loop is None:
            return
        loop.cancel()
        with suppress(asyncio.CancelledError):
            await loop
        self._end_all(ShuttingDown("The engine ends."))

    def _end_all(self, error: CapacityError) -> None:
        for slot in (*self._running, *self._waiting):
            slot.output.put_nowait(error)
        self._running.clear()
        self._waiting.clear()

    def _slot(self, request: Request) -> _Slot:
        images = _images(request)
        prompt = "\n".join(
            part.text
            for message in request.messages
            for part in message.parts
            if isinstance(part, TextPart)
        )
        image_tokens = sum(self._image_tokens(image) for image in images)
        prompt_tokens = len(_tokens(prompt)) + image_tokens
        room = answer_room(prompt_tokens, self._script.context_length)
        answer = _echo(request) if self._script.mode == "echo" else self._words(request)
        limit = min(request.sampling.max_tokens, room)
        return _Slot(prompt, prompt_tokens, image_tokens, _tokens(answer), limit)

    def _image_tokens(self, image: Image) -> int:
        per_token = self._script.pixels_per_token
        maximum = self._script.image_tokens
        return min(maximum, -(-image.width * image.height // per_token)) if per_token else maximum

    def _words(self, request: Request) -> str:
        """An answer that follows from what was asked, as the likeliest tokens would."""
        sampling = request.sampling
        chance: bytes | int | None = None
        if sampling.temperature >= COLDEST:
            chance = os.urandom(8) if sampling.seed is None else sampling.seed
        asked = [
            (message.role, [_identity(request, part) for part in message.parts])
            for message in request.messages
        ]
        root = hashlib.blake2b(repr((asked, chance)).encode(), digest_size=16).digest()
        count = self._script.answer_words or 8 + root[0] % 16
        return " ".join(WORDS[_draw(root, place) % len(WORDS)] for place in range(count)) + "."

    async def _run(self) -> None:
        """The engine's loop: lets requests join, gives each a token, lets requests leave."""
        while True:
            self._idle = True
            await self._work.wait()
            self._idle = False
            self._last_step = time.monotonic()
            while self._running or self._waiting:
                await self._admit()
                await self._step()
                self._last_step = time.monotonic()
            self._work.clear()

    async def _admit(self) -> None:
        while self._waiting and len(self._running) < self._max_batch:
            slot = self._waiting.popleft()
            slot.admitted = time.monotonic()
            self._running.append(slot)
            seconds = self._script.prefill_seconds
            seconds += slot.prompt_tokens * self._script.prefill_token_seconds
            if seconds:
                await asyncio.sleep(seconds)
                self._last_step = time.monotonic()
            slot.prefilled = time.monotonic()

    async def _step(self) -> None:
        slow = any(self._marked(slot, self._script.slow_on_text) for slot in self._running)
        await asyncio.sleep(self._script.slow_seconds if slow else self._script.token_seconds)
        for slot in tuple(self._running):
            if slot.given == self._script.fault_after_tokens:
                await self._strike(slot)
            if slot not in self._running:
                continue
            slot.output.put_nowait(slot.given if slot.given < len(slot.answer) else _END)
            slot.given += 1
            if slot.given > len(slot.answer) or slot.given == slot.limit:
                self._running.remove(slot)

    async def _strike(self, slot: _Slot) -> None:
        """The scripted fault of a request, if it has one."""
        if self._marked(slot, self._script.crash_on_text):
            os._exit(CRASH_EXIT_CODE)
        if self._marked(slot, self._script.break_on_text):
            self._failed.set()
            self._end_all(WorkerLost("The engine has failed, as it was told to; try again."))
        if self._marked(slot, self._script.hang_on_text):
            await asyncio.Event().wait()
        if self._marked(slot, self._script.oom_on_text):
            self._running.remove(slot)
            slot.output.put_nowait(
                Overloaded(
                    "There was not enough memory for this request; "
                    "send fewer or smaller pictures, or try again later.",
                    retry_after=5,
                )
            )

    @staticmethod
    def _marked(slot: _Slot, marker: str) -> bool:
        return bool(marker) and marker in slot.prompt

    def _release(self, slot: _Slot) -> None:
        """Takes a request out, wherever it is."""
        if slot in self._running:
            self._running.remove(slot)
        if slot in self._waiting:
            self._waiting.remove(slot)


async def _next_tokens(slot: _Slot, deadline: float) -> list[int]:
    """Waits for a token, and takes those that have come meanwhile along."""
    tokens: list[int] = []
    while True:
        try:
            token = slot.output.get_nowait()
        except asyncio.QueueEmpty:
            if tokens:
                return tokens
            try:
                async with asyncio.timeout_at(deadline):
                    token = await slot.output.get()
            except TimeoutError:
                raise DeadlineExceeded(
                    "The time for this request was over before its answer was whole; "
                    "ask for fewer tokens or try again when there is less to do."
                ) from None
        if not isinstance(token, int):
            raise token
        tokens.append(token)


def _images(request: Request) -> list[Image]:
    """The pictures in the order in which the messages show them."""
    places = [
        part.index
        for message in request.messages
        for part in message.parts
        if isinstance(part, ImagePart)
    ]
    if any(not 0 <= place < len(request.images) for place in places):
        raise InvalidRequest(
            f"A message shows a picture that was not sent; there are {len(request.images)}.",
            param="messages",
        )
    return [request.images[place] for place in places]


def _identity(request: Request, part: TextPart | ImagePart) -> str:
    return part.text if isinstance(part, TextPart) else request.images[part.index].digest


def _echo(request: Request) -> str:
    parts = []
    for part in request.messages[-1].parts:
        if isinstance(part, TextPart):
            parts.append(part.text)
        else:
            image = request.images[part.index]
            parts.append(f"[{image.width}x{image.height}]")
    return " ".join(parts)


def _draw(root: bytes, place: int) -> int:
    digest = hashlib.blake2b(root + place.to_bytes(4), digest_size=4).digest()
    return int.from_bytes(digest)


def _tokens(text: str) -> list[bytes]:
    """Splits as a byte-level vocabulary does: short ASCII words, and single bytes."""
    return _TOKEN.findall(text.encode("utf-8", "replace"))
