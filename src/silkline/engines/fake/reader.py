"""A request's slot in the fake engine, and the reader that turns its tokens into deltas."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from silkline.core import Delta, FinishReason, Sampling, Stage, Timeline, Usage, join
from silkline.engines.chat.parts import AnswerParts
from silkline.engines.fake.toy_model import Token, ToyModel
from silkline.engines.text_stream import LogprobStream, TextStream
from silkline.errors import CapacityError


@dataclass(eq=False, slots=True)
class Slot:
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


class Reader:
    """Reads a slot's tokens and turns them into deltas."""

    def __init__(self, slot: Slot, sampling: Sampling, parts: AnswerParts) -> None:
        self._slot = slot
        self._kept_ids = sampling.stop_token_ids if sampling.include_stop else ()
        self._tokens: list[bytes] = []
        self._text = TextStream(self._decode, sampling.stop, include_stop=sampling.include_stop)
        self._logprobs = LogprobStream(self._text)
        self._parts = parts
        self._reasoning = 0  # tokens

    def read(self, tokens: Iterable[Token]) -> Delta:
        """Returns the delta for the next tokens; ignores tokens after the end of the answer."""
        deltas = [Delta("")]
        for token in tokens:
            self._tokens.append(token.data)
            if not token.ends or token.id in self._kept_ids:
                deltas.append(self._parts.push(self._text.push((len(self._tokens) - 1,))))
                if token.logprob is not None:
                    self._logprobs.add(token.logprob)
            if self._parts.thinking:
                self._reasoning = len(self._tokens)
            if token.ends or self._text.stopped or self._parts.ended:
                return self._last(deltas, FinishReason.STOP)
            if len(self._tokens) == self._slot.limit:
                return self._last(deltas, FinishReason.LENGTH)
        return replace(join(deltas), logprobs=self._logprobs.take())

    def _decode(self, indices: Sequence[int]) -> str:
        return b"".join(self._tokens[index] for index in indices).decode("utf-8", "replace")

    def _last(self, deltas: Sequence[Delta], finish: FinishReason) -> Delta:
        slot = self._slot
        seconds = {
            Stage.QUEUE: slot.admitted - slot.arrived,
            Stage.PREFILL: slot.prefilled - slot.admitted,
            Stage.GENERATE: time.monotonic() - slot.prefilled,
        }
        usage = Usage(
            slot.prompt_tokens,
            len(self._tokens),
            slot.image_tokens,
            reasoning_tokens=self._reasoning,
        )
        rest = self._parts.finish(self._text.finish())
        reason = FinishReason.STOP if self._text.stopped else finish
        return replace(
            join((*deltas, rest)),
            finish_reason=self._parts.reason(reason),
            usage=usage,
            timeline=Timeline(seconds),
            logprobs=self._logprobs.take(ended=True),
            stop=self._text.found,
        )
