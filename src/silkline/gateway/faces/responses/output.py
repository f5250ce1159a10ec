"""Builds the output items of a response from the deltas of its answer, and the events of each step.

The order of the events of an item is that of the OpenAI API: it is added, its part is added, the
part grows, the part is done, the item is done. Reasoning and text end when another item begins,
tool calls when the answer ends.
https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Sequence
from typing import Any, TypeVar

from silkline.core import Delta, TokenLogprob, ToolCallDelta

Event = dict[str, Any]

COMPLETED, IN_PROGRESS, INCOMPLETE = "completed", "in_progress", "incomplete"
"""The statuses of a response and of its items."""


class Output:
    """The output items of one response."""

    def __init__(self, suffix: str) -> None:
        """Creates an empty output; `suffix` ends the ids of its items."""
        self._suffix = suffix
        self._items: list[_Item] = []
        self._open: _Item | None = None
        self._calls: dict[int, _Call] = {}

    def items(self) -> list[dict[str, Any]]:
        """All items so far, in order."""
        return [item.shown() for item in self._items]

    def add(self, delta: Delta) -> Iterator[Event]:
        """Adds a chunk of the answer; yields its events."""
        if delta.reasoning:
            reasoning = yield from self._opened(_Reasoning)
            yield reasoning.grow(delta.reasoning)
        if delta.text or (delta.logprobs and isinstance(self._open, _Text)):
            text = yield from self._opened(_Text)
            yield text.grow(delta.text, _tokens_of(delta))
        for call in delta.tool_calls:
            yield from self._called(call)

    def end(self, status: str) -> Iterator[Event]:
        """Ends all items, the last one with this status; an empty answer is an empty message."""
        if not self._items:
            yield from self._opened(_Text)
        for item in self._items:
            if item.status == IN_PROGRESS:
                yield from item.end(status if item is self._items[-1] else COMPLETED)

    def _opened(self, kind: type[_Part]) -> Generator[Event, None, _Part]:
        """Returns the open item if it is of this kind; otherwise ends it and begins a new one."""
        if isinstance(self._open, kind):
            return self._open
        yield from self._closed()
        self._open = item = kind(self._suffix, len(self._items))
        yield from self._begun(item)
        return item

    def _closed(self) -> Iterator[Event]:
        if self._open is not None:
            yield from self._open.end(COMPLETED)
            self._open = None

    def _begun(self, item: _Item) -> Iterator[Event]:
        self._items.append(item)
        yield from item.begin()

    def _called(self, chunk: ToolCallDelta) -> Iterator[Event]:
        call = self._calls.get(chunk.index)
        if call is None:
            yield from self._closed()
            call = _Call(self._suffix, len(self._items), chunk)
            self._calls[chunk.index] = call
            yield from self._begun(call)
        if chunk.arguments:
            yield call.grow(chunk.arguments)


class _Item(ABC):
    """An output item that grows."""

    prefix = ""
    field = ""
    """The path of the text that grows, in the names of events."""

    def __init__(self, suffix: str, index: int) -> None:
        self.status = IN_PROGRESS
        self._id = f"{self.prefix}_{suffix}_{index}"
        self._index = index
        self._chunks: list[str] = []

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._chunks)

    @abstractmethod
    def shown(self) -> dict[str, Any]:
        """The item as in a response."""

    def begin(self) -> Iterator[Event]:
        """The events of its beginning."""
        yield self._event("response.output_item.added", item=self.shown())

    def grow(self, text: str) -> Event:
        """Adds text; returns its event."""
        self._chunks.append(text)
        return self._of_text("delta", delta=text)

    def end(self, status: str) -> Iterator[Event]:
        """The events of its end."""
        self.status = status
        yield self._event("response.output_item.done", item=self.shown())

    def _event(self, kind: str, /, **fields: Any) -> Event:
        return {"type": kind, "output_index": self._index, **fields}

    def _of_text(self, what: str, **fields: Any) -> Event:
        """An event about the item's text."""
        return self._event(f"response.{self.field}.{what}", item_id=self._id, **fields)


class _PartItem(_Item):
    """An item whose text is in its only content part."""

    @abstractmethod
    def part(self) -> dict[str, Any]:
        """The content part as in a response."""

    def begin(self) -> Iterator[Event]:
        yield from super().begin()
        yield self._of_part("response.content_part.added")

    def end(self, status: str) -> Iterator[Event]:
        yield self._done()
        yield self._of_part("response.content_part.done")
        yield from super().end(status)

    def _done(self) -> Event:
        return self._of_text("done", text=self.text)

    def _content(self) -> list[dict[str, Any]]:
        """The item's content: nothing before its part is added."""
        return [] if self.status == IN_PROGRESS else [self.part()]

    def _of_part(self, name: str) -> Event:
        return self._event(name, item_id=self._id, content_index=0, part=self.part())

    def _of_text(self, what: str, **fields: Any) -> Event:
        return super()._of_text(what, content_index=0, **fields)


class _Reasoning(_PartItem):
    prefix = "rs"
    field = "reasoning_text"

    def shown(self) -> dict[str, Any]:
        return {
            "id": self._id,
            "type": "reasoning",
            "summary": [],
            "content": self._content(),
            "status": self.status,
        }

    def part(self) -> dict[str, Any]:
        return {"type": "reasoning_text", "text": self.text}


class _Text(_PartItem):
    prefix = "msg"
    field = "output_text"

    def __init__(self, suffix: str, index: int) -> None:
        super().__init__(suffix, index)
        self._logprobs: list[dict[str, Any]] = []

    def grow(self, text: str, logprobs: Sequence[TokenLogprob] = ()) -> Event:
        shown = [_logprob(logprob) for logprob in logprobs]
        self._logprobs += shown
        return {**super().grow(text), "logprobs": shown}

    def shown(self) -> dict[str, Any]:
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "content": self._content(),
            "status": self.status,
        }

    def part(self) -> dict[str, Any]:
        return {
            "type": "output_text",
            "text": self.text,
            "annotations": [],
            "logprobs": self._logprobs,
        }

    def _done(self) -> Event:
        return {**super()._done(), "logprobs": self._logprobs}


_Part = TypeVar("_Part", _Reasoning, _Text)


class _Call(_Item):
    prefix = "fc"
    field = "function_call_arguments"

    def __init__(self, suffix: str, index: int, first: ToolCallDelta) -> None:
        super().__init__(suffix, index)
        self._call_id = first.id
        self._name = first.name

    def shown(self) -> dict[str, Any]:
        return {
            "id": self._id,
            "type": "function_call",
            "call_id": self._call_id,
            "name": self._name,
            "arguments": self.text,
            "status": self.status,
        }

    def end(self, status: str) -> Iterator[Event]:
        yield self._of_text("done", arguments=self.text, name=self._name)
        yield from super().end(status)


def _tokens_of(delta: Delta) -> Sequence[TokenLogprob]:
    """The tokens of a delta's text: those of reasoning and tool calls are left out."""
    tokens = delta.logprobs
    if not tokens or not (delta.reasoning or delta.tool_calls):
        return tokens
    text = delta.text.encode()
    start = b"".join(token.data for token in tokens).rfind(text)
    ends = 0
    chosen = []
    for token in tokens:
        begins, ends = ends, ends + len(token.data)
        if start < ends and begins < start + len(text):
            chosen.append(token)
    return chosen if start >= 0 else tokens


def _logprob(token: TokenLogprob) -> dict[str, Any]:
    return {**_token(token), "top_logprobs": [_token(other) for other in token.top]}


def _token(token: TokenLogprob) -> dict[str, Any]:
    return {"token": token.token, "logprob": token.logprob, "bytes": list(token.data)}
