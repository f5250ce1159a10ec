"""The fake engine: deterministic and scriptable, for tests of everything around an engine.

It has no model but behaves like a real engine: requests join a batch and leave it between steps,
prompts and tokens take time, and tokens may end inside a character. Its options can make a request
crash the process, hang the engine, run out of memory or be slow.

    engine = create_engine("fake", EngineOptions(extra={"mode": "echo", "token_seconds": "0.01"}))
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Sequence
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
    Sampling,
    Stage,
    TextPart,
    Timeline,
    Usage,
)
from silkline.engines.base import Engine, EngineOptions
from silkline.engines.extra_options import read_extra
from silkline.engines.fake.options import FakeOptions
from silkline.engines.fake.toy_model import Token, ToyModel
from silkline.engines.fake.vocabulary import WORDS, tokens_of
from silkline.engines.sampling import SAMPLING_FEATURES, answer_room
from silkline.engines.spec import EngineSpec
from silkline.engines.text_stream import LogprobStream, TextStream
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
"""The process's exit code when a request crashes it."""


def create_engine(options: EngineOptions) -> Engine:
    """Creates a fake engine. Raises `ConfigError` if `options.extra` is not a `FakeOptions`."""
    script = read_extra(options.extra, FakeOptions, "fake")
    return FakeEngine(options.max_batch, script, options.name)


SPEC = EngineSpec(name="fake", create=create_engine, needs_model=False)


@dataclass(eq=False, slots=True)
class _Slot:
    """A request's slot in the engine."""

    prompt: str
    prompt_tokens: int
    image_tokens: int
    model: ToyModel
    limit: int
    output: asyncio.Queue[Token | CapacityError] = field(default_factory=asyncio.Queue)
    arrived: float = field(default_factory=time.monotonic)
    admitted: float = 0.0
    prefilled: float = 0.0
    emitted: int = 0


class _Reader:
    """Reads a slot's tokens and turns them into deltas."""

    def __init__(self, slot: _Slot, sampling: Sampling) -> None:
        self._slot = slot
        self._kept_ids = sampling.stop_token_ids if sampling.include_stop else ()
        self._tokens: list[bytes] = []
        self._text = TextStream(self._decode, sampling.stop, include_stop=sampling.include_stop)
        self._logprobs = LogprobStream(self._text)

    def read(self, tokens: Iterable[Token]) -> Delta:
        """Returns the delta for the next tokens; ignores tokens after the end of the answer."""
        chunk = ""
        for token in tokens:
            self._tokens.append(token.data)
            if not token.ends or token.id in self._kept_ids:
                chunk += self._text.push((len(self._tokens) - 1,))
                if token.logprob is not None:
                    self._logprobs.add(token.logprob)
            if token.ends or self._text.stopped:
                return self._last(chunk, FinishReason.STOP)
            if len(self._tokens) == self._slot.limit:
                return self._last(chunk, FinishReason.LENGTH)
        return Delta(chunk, logprobs=self._logprobs.take())

    def _decode(self, indices: Sequence[int]) -> str:
        return b"".join(self._tokens[index] for index in indices).decode("utf-8", "replace")

    def _last(self, chunk: str, finish: FinishReason) -> Delta:
        slot = self._slot
        seconds = {
            Stage.QUEUE: slot.admitted - slot.arrived,
            Stage.PREFILL: slot.prefilled - slot.admitted,
            Stage.GENERATE: time.monotonic() - slot.prefilled,
        }
        usage = Usage(slot.prompt_tokens, len(self._tokens), slot.image_tokens)
        chunk += self._text.finish()
        finish = FinishReason.STOP if self._text.stopped else finish
        logprobs = self._logprobs.take(ended=True)
        return Delta(chunk, finish, usage, Timeline(seconds), logprobs=logprobs)


class FakeEngine(Engine):
    """An engine that computes nothing; see the module's docstring."""

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
        """See `Engine`."""
        return EngineInfo(
            engine="fake",
            model=self._name,
            revision="0",
            precision="none",
            context_length=self._script.context_length,
            image_tokens=self._script.image_tokens,
            pixels_per_token=self._script.pixels_per_token or None,
            features=SAMPLING_FEATURES,
            sampling_defaults=self._script.sampling_defaults(),
        )

    async def start(self) -> None:
        """Starts to accept requests."""
        if self._script.start_seconds:
            await asyncio.sleep(self._script.start_seconds)
        if self._script.start_fault:
            raise EnvironmentFault(self._script.start_fault)
        self._loop = asyncio.create_task(self._run())

    async def generate(self, request: Request) -> AsyncGenerator[Delta, None]:
        """See `Engine`."""
        if self._loop is None:
            raise not_running()
        if self._failed.is_set():
            raise WorkerLost("The engine has failed; try again.")
        slot = self._make_slot(request)
        reader = _Reader(slot, request.sampling)
        deadline = asyncio.get_running_loop().time() + request.timeout_seconds
        self._waiting.append(slot)
        self._work.set()
        try:
            while True:
                delta = reader.read(await _next_tokens(slot, deadline))
                if delta.text or delta.logprobs or delta.finish_reason:
                    yield delta
                if delta.finish_reason:
                    return
        finally:
            self._release(slot)

    def health(self) -> Health:
        """Returns the status of the simulated batch."""
        return Health(
            running=len(self._running),
            queued=len(self._waiting),
            seconds_since_progress=0.0 if self._idle else time.monotonic() - self._last_step,
        )

    async def failed(self) -> None:
        """Waits until a request has made the engine fail."""
        await self._failed.wait()

    async def aclose(self) -> None:
        """Ends running requests with `ShuttingDown`."""
        loop, self._loop = self._loop, None
        if loop is None:
            return
        loop.cancel()
        with suppress(asyncio.CancelledError):
            await loop
        self._end_all(ShuttingDown("The engine is shutting down."))

    def _end_all(self, error: CapacityError) -> None:
        for slot in (*self._running, *self._waiting):
            slot.output.put_nowait(error)
        self._running.clear()
        self._waiting.clear()

    def _make_slot(self, request: Request) -> _Slot:
        images = _images(request)
        prompt = "\n".join(
            part.text
            for message in request.messages
            for part in message.parts
            if isinstance(part, TextPart)
        )
        image_tokens = sum(self._image_tokens(image) for image in images)
        words = tokens_of(prompt)
        prompt_tokens = len(words) + image_tokens
        room = answer_room(prompt_tokens, self._script.context_length)
        sampling = request.sampling
        echoes = self._script.mode == "echo"
        root = _root(request)
        plan = tokens_of(_echo(request) if echoes else self._words(root))
        model = ToyModel(plan, words, root, sampling, fixed=echoes)
        limit = min(sampling.max_tokens, room)
        return _Slot(prompt, prompt_tokens, image_tokens, model, limit)

    def _image_tokens(self, image: Image) -> int:
        per_token = self._script.pixels_per_token
        maximum = self._script.image_tokens
        return min(maximum, -(-image.width * image.height // per_token)) if per_token else maximum

    def _words(self, root: bytes) -> str:
        count = self._script.answer_words or 8 + root[0] % 16
        return " ".join(WORDS[_draw(root, index) % len(WORDS)] for index in range(count)) + "."

    async def _run(self) -> None:
        """The engine's loop: admits requests, generates a token for each, removes finished ones."""
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
            if slot.emitted == self._script.fault_after_tokens:
                await self._apply_fault(slot)
            if slot not in self._running:
                continue
            token = slot.model.next()
            slot.output.put_nowait(token)
            slot.emitted += 1
            if token.ends or slot.emitted == slot.limit:
                self._running.remove(slot)

    async def _apply_fault(self, slot: _Slot) -> None:
        """Applies the scripted fault of a request, if it has one."""
        if self._marked(slot, self._script.crash_on_text):
            os._exit(CRASH_EXIT_CODE)
        if self._marked(slot, self._script.break_on_text):
            self._failed.set()
            self._end_all(WorkerLost("The engine failed, as its script says; try again."))
        if self._marked(slot, self._script.hang_on_text):
            await asyncio.Event().wait()
        if self._marked(slot, self._script.oom_on_text):
            self._running.remove(slot)
            slot.output.put_nowait(
                Overloaded(
                    "There was not enough memory for this request; "
                    "send fewer or smaller images, or try again later.",
                    retry_after=5,
                )
            )

    @staticmethod
    def _marked(slot: _Slot, marker: str) -> bool:
        return bool(marker) and marker in slot.prompt

    def _release(self, slot: _Slot) -> None:
        """Removes a request from the batch or the queue."""
        if slot in self._running:
            self._running.remove(slot)
        if slot in self._waiting:
            self._waiting.remove(slot)


async def _next_tokens(slot: _Slot, deadline: float) -> list[Token]:
    """Waits for a token and returns it with all that are queued behind it."""
    tokens: list[Token] = []
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
                    "The request's time was over before its answer was complete; "
                    "ask for fewer tokens or try again when the load is lower."
                ) from None
        if not isinstance(token, Token):
            raise token
        tokens.append(token)


def _images(request: Request) -> list[Image]:
    """Returns the images in the order in which the messages refer to them."""
    indices = [
        part.index
        for message in request.messages
        for part in message.parts
        if isinstance(part, ImagePart)
    ]
    if any(not 0 <= index < len(request.images) for index in indices):
        raise InvalidRequest(
            f"A message refers to an image that was not sent; {len(request.images)} were sent.",
            param="messages",
        )
    return [request.images[index] for index in indices]


def _identity(request: Request, part: TextPart | ImagePart) -> str:
    return part.text if isinstance(part, TextPart) else request.images[part.index].digest


def _root(request: Request) -> bytes:
    """Returns a digest of the conversation, from which answers are derived."""
    conversation = [
        (message.role, [_identity(request, part) for part in message.parts])
        for message in request.messages
    ]
    return hashlib.blake2b(repr(conversation).encode(), digest_size=16).digest()


def _echo(request: Request) -> str:
    parts = []
    for part in request.messages[-1].parts:
        if isinstance(part, TextPart):
            parts.append(part.text)
        else:
            image = request.images[part.index]
            parts.append(f"[{image.width}x{image.height}]")
    return " ".join(parts)


def _draw(root: bytes, index: int) -> int:
    digest = hashlib.blake2b(root + index.to_bytes(4), digest_size=4).digest()
    return int.from_bytes(digest)
