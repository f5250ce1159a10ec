"""Puts an answer together from the chunks of a streamed chat completion."""

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
"""Of a message or a delta: a text, or a list of parts."""


class Text(NamedTuple):
    """The text of a message's content.

    Attributes:
        text: That of the text parts; thinking is no part of an answer.
        odd: Whether there was a part that is neither text nor known to have none.
    """

    text: str
    odd: bool = False

    @classmethod
    def of(cls, content: Content) -> Text:
        """Reads a content in any of its forms."""
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
    """Reads the events of one answer.

    Attributes:
        done: Whether the server said that this was all.
        finish_reason: Why the answer ended, once it did.
        pieces: Chunks that had text: about as many as tokens.
        odd_parts: Whether there were parts of a kind that is not known, which are left out.
    """

    def __init__(self) -> None:
        self.done = False
        self.finish_reason: FinishReason | None = None
        self.chunks = 0
        self.odd_parts = False
        self._usage: _Usage | None = None

    def read(self, event: Event) -> str:
        """Takes an event and gives its text, which is often empty.

        Raises:
            SilklineError: It tells of a failure, or makes no sense.
        """
        if event.data == _DONE:
            self.done = True
            return ""
        try:
            chunk = msgspec.json.decode(event.data, type=_Chunk)
        except UNDECODABLE as error:
            raise lost("sent what is no answer") from error
        if chunk.error is not None or event.type == _ERROR:
            raise failure_in_body(event.data)
        if chunk.usage is not None and chunk.usage.prompt_tokens is not None:
            self._usage = chunk.usage
        return "".join(self._text(choice) for choice in chunk.choices or () if not choice.index)

    def usage(self, estimate: Usage) -> Usage:
        """What the server says that the answer cost; the estimate where it says nothing."""
        told = self._usage
        if told is None or told.prompt_tokens is None:
            return estimate
        details = told.prompt_tokens_details or _Details()
        image_tokens = details.image_tokens
        if image_tokens is None:
            image_tokens = estimate.image_tokens
        return Usage(
            told.prompt_tokens,
            told.completion_tokens or 0,
            min(image_tokens, told.prompt_tokens),
            min(details.cached_tokens or 0, told.prompt_tokens),
        )

    @property
    def tells_usage(self) -> bool:
        """Whether the server said what the answer cost."""
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
    """What a reason means, in the words of any server; other than "stop" are those of their own."""
    reason = reason.lower()
    if reason in _CUT:
        return FinishReason.LENGTH
    if reason in _STOPPED:
        return FinishReason.STOP
    if reason in _FILTERED:
        raise InvalidRequest(
            "The model's server holds the answer back by its content filter; change the text or "
            "the images."
        )
    if reason in _FAILED:
        raise lost("broke the answer off")
    raise lost("ended the answer for a reason that is not known here")
