"""Assembles an answer from the chunks of a streamed chat completion."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import msgspec

from silkline.core import FinishReason, Usage
from silkline.engines.remote.failures import failure_in_body, lost
from silkline.engines.remote.listing import MAX_COUNT
from silkline.engines.remote.sse import Event
from silkline.errors import UNDECODABLE, InvalidRequest

_DONE = b"[DONE]"
_ERROR = b"error"
_STOPPED = frozenset(
    {"stop", "eos", "eos_token", "stop_sequence", "stop_str", "end_turn", "complete", "completed"}
)
_CUT = frozenset({"length", "max_tokens", "max_length", "model_length"})
_FILTERED = frozenset({"content_filter", "safety", "refusal"})
_FAILED = frozenset({"abort", "aborted", "cancelled", "canceled", "error", "timeout"})
_WITHOUT_TEXT = frozenset({"thinking", "reasoning", "reference"})

_Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]

Content = str | list[Any] | None
"""The content of a message or a delta: a text, or a list of parts."""


class Text(NamedTuple):
    """The text of a message's content.

    Attributes:
        text: The text parts, joined; thinking is not part of an answer.
        odd: Whether there was a part of an unknown type.
    """

    text: str
    odd: bool = False

    @classmethod
    def of(cls, content: Content) -> Text:
        """Reads a content of any form."""
        if not isinstance(content, list):
            return cls(content or "")
        texts: list[str] = []
        odd = False
        for part in content:
            kind = str(part.get("type", "text")) if isinstance(part, dict) else "text"
            text = part.get("text") if isinstance(part, dict) else part
            if kind in {"text", "output_text"} and isinstance(text, str):
                texts.append(text)
            else:
                odd = odd or kind not in _WITHOUT_TEXT
        return cls("".join(texts), odd)


class _Delta(msgspec.Struct):
    content: Content = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    finish_reason: str | None = None
    index: int | None = None


class _Details(msgspec.Struct):
    cached_tokens: _Count | None = None
    image_tokens: _Count | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: _Count | None = None
    completion_tokens: _Count | None = None
    prompt_tokens_details: _Details | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None


class AnswerReader:
    """Reads the events of one streamed answer.

    Attributes:
        done: Whether the server sent `[DONE]`.
        finish_reason: Why the answer ended; None until then.
        chunks: Number of chunks with text, roughly the number of tokens.
        odd_parts: Whether parts of an unknown type came; they are left out.
    """

    def __init__(self) -> None:
        self.done = False
        self.finish_reason: FinishReason | None = None
        self.chunks = 0
        self.odd_parts = False
        self._usage: _Usage | None = None

    def read(self, event: Event) -> str:
        """Reads an event and returns its text, which is often empty.

        Raises:
            SilklineError: The event reports a failure or is malformed.
        """
        if event.data == _DONE:
            self.done = True
            return ""
        try:
            chunk = msgspec.json.decode(event.data, type=_Chunk)
        except UNDECODABLE as error:
            raise lost("sent an invalid answer") from error
        if chunk.error is not None or event.type == _ERROR:
            raise failure_in_body(event.data)
        if chunk.usage is not None and chunk.usage.prompt_tokens is not None:
            self._usage = chunk.usage
        return "".join(self._text(choice) for choice in chunk.choices or () if not choice.index)

    def usage(self, estimate: Usage) -> Usage:
        """The usage that the server reported; the estimate if it reported none."""
        reported = self._usage
        if reported is None or reported.prompt_tokens is None:
            return estimate
        details = reported.prompt_tokens_details or _Details()
        image_tokens = details.image_tokens
        if image_tokens is None:
            image_tokens = estimate.image_tokens
        return Usage(
            reported.prompt_tokens,
            reported.completion_tokens or 0,
            min(image_tokens, reported.prompt_tokens),
            min(details.cached_tokens or 0, reported.prompt_tokens),
        )

    @property
    def has_usage(self) -> bool:
        """Whether the server reported usage."""
        return self._usage is not None

    def _text(self, choice: _Choice) -> str:
        if choice.finish_reason:
            self.finish_reason = _finish(choice.finish_reason)
        text, odd = Text.of(choice.delta.content if choice.delta is not None else None)
        self.odd_parts = self.odd_parts or odd
        if text:
            self.chunks += 1
        return text


def _finish(reason: str) -> FinishReason:
    """Maps any server's finish reason; several servers have names of their own for "stop"."""
    reason = reason.lower()
    if reason in _CUT:
        return FinishReason.LENGTH
    if reason in _STOPPED:
        return FinishReason.STOP
    if reason in _FILTERED:
        raise InvalidRequest(
            "The content filter of the model's server withheld the answer. Change the text or the "
            "images."
        )
    if reason in _FAILED:
        raise lost("broke the answer off")
    raise lost("ended the answer for an unknown reason")
