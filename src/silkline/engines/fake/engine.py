"""The fake engine: deterministic and scriptable, for tests of everything around an engine.

It has no model but behaves like a real engine: requests join a batch and leave it between steps,
prompts and tokens take time, and tokens may end inside a character. Its options can make a request
crash the process, hang the engine, run out of memory or be slow.

    engine = create_engine("fake", EngineOptions(extra={"mode": "echo", "token_seconds": "0.01"}))
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from pathlib import Path

from silkline.core import (
    Delta,
    EngineInfo,
    Feature,
    Health,
    Image,
    ImagePart,
    Request,
)
from silkline.engines.base import Engine, EngineOptions
from silkline.engines.chat.parts import AnswerParts, call_ids
from silkline.engines.extra_options import read_extra
from silkline.engines.fake import conversation
from silkline.engines.fake.answers import constrained, echo, flipped, root_of, words
from silkline.engines.fake.arguments import arguments_for
from silkline.engines.fake.conversation import called_tools, form_of, planned, prompt_of
from silkline.engines.fake.options import FakeOptions
from silkline.engines.fake.reader import Reader, Slot
from silkline.engines.fake.toy_model import Token, ToyModel
from silkline.engines.fake.vocabulary import IMAGE_ID, token_id, tokens_of
from silkline.engines.grammar import CONSTRAINT_FEATURES, CompiledConstraints, grammar_of
from silkline.engines.sampling import SAMPLING_FEATURES, answer_room
from silkline.engines.spec import EngineSpec
from silkline.engines.tokenized import tokenized
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


_FEATURES = (
    SAMPLING_FEATURES
    | conversation.FEATURES
    | CONSTRAINT_FEATURES
    | {Feature.RAW, Feature.TOKENIZE}
)


class FakeEngine(Engine):
    """An engine that computes nothing; see the module's docstring."""

    def __init__(self, max_batch: int, script: FakeOptions, name: str = "") -> None:
        self._name = name or "silkline-fake"
        self._max_batch = max_batch
        self._script = script
        self._waiting: deque[Slot] = deque()
        self._running: list[Slot] = []
        self._work = asyncio.Event()
        self._failed = asyncio.Event()
        self._idle = True
        self._last_step = time.monotonic()
        self._loop: asyncio.Task[None] | None = None
        self._grammars = CompiledConstraints(grammar_of, "fake-grammar")

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
            features=_FEATURES,
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
        if not request.sampling.max_tokens:
            yield self._tokenized(request)
            return
        deadline = asyncio.get_running_loop().time() + request.timeout_seconds
        images = _images(request)
        slot = self._make_slot(request, images, await self._plan(request, deadline))
        parts = AnswerParts(form_of(request), call_ids(request))
        reader = Reader(slot, request.sampling, parts)
        self._waiting.append(slot)
        self._work.set()
        try:
            while True:
                delta = reader.read(await _next_tokens(slot, deadline))
                if delta != Delta(""):
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
        self._grammars.close()
        with suppress(asyncio.CancelledError):
            await loop
        self._end_all(ShuttingDown("The engine is shutting down."))

    def _end_all(self, error: CapacityError) -> None:
        for slot in (*self._running, *self._waiting):
            slot.output.put_nowait(error)
        self._running.clear()
        self._waiting.clear()

    def _tokenized(self, request: Request) -> Delta:
        image_tokens = sum(map(self._image_tokens, _images(request)))
        ids = map(token_id, tokens_of(prompt_of(request)))
        return tokenized((*[IMAGE_ID] * image_tokens, *ids), image_tokens)

    async def _plan(self, request: Request, deadline: float) -> str:
        """Returns the whole answer to a request."""
        write = self._write
        if request.sampling.constraint is not None:
            grammar = await self._grammars.get(request.sampling.constraint, deadline)
            formed = await asyncio.to_thread(constrained, request, grammar)
            return planned(request, lambda _: formed, await self._arguments(request, deadline))
        return planned(request, write, await self._arguments(request, deadline))

    async def _arguments(self, request: Request, deadline: float) -> dict[str, str]:
        """Returns the arguments of the tools that the answer calls, by their names."""
        return {
            tool.name: await arguments_for(tool, request, self._grammars, deadline)
            for tool in called_tools(request)
        }

    def _make_slot(self, request: Request, images: Sequence[Image], plan: str) -> Slot:
        """Creates the slot of a request; `plan` is its whole answer."""
        prompt = prompt_of(request)
        image_tokens = sum(self._image_tokens(image) for image in images)
        told = tokens_of(prompt)
        prompt_tokens = len(told) + image_tokens
        room = answer_room(prompt_tokens, self._script.context_length)
        echoes = self._script.mode == "echo"
        formed = request.sampling.constraint is not None or not form_of(request).is_plain
        root = root_of(request)
        model = ToyModel(tokens_of(plan), told, root, request.sampling, fixed=echoes or formed)
        limit = min(request.sampling.max_tokens, room)
        return Slot(prompt, prompt_tokens, image_tokens, model, limit)

    def _write(self, request: Request) -> str:
        script = self._script
        text = echo(request) if script.mode == "echo" else words(request, script.answer_words)
        if script.corrupt_file and Path(script.corrupt_file).exists():
            return flipped(text)
        return text

    def _image_tokens(self, image: Image) -> int:
        per_token = self._script.pixels_per_token
        maximum = self._script.image_tokens
        return min(maximum, -(-image.width * image.height // per_token)) if per_token else maximum

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

    async def _apply_fault(self, slot: Slot) -> None:
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
    def _marked(slot: Slot, marker: str) -> bool:
        return bool(marker) and marker in slot.prompt

    def _release(self, slot: Slot) -> None:
        """Removes a request from the batch or the queue."""
        if slot in self._running:
            self._running.remove(slot)
        if slot in self._waiting:
            self._waiting.remove(slot)


async def _next_tokens(slot: Slot, deadline: float) -> list[Token]:
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
