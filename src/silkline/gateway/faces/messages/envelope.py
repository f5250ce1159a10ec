"""Builds messages of the Anthropic API, and the events of their streams.

https://platform.claude.com/docs/en/build-with-claude/streaming
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from silkline.core import Answer, Delta, FinishReason, Timeline, ToolCall, ToolCallDelta, Usage
from silkline.errors import UNDECODABLE
from silkline.gateway.evidence import evidence
from silkline.service.record import RequestRecord

_SIGNATURE = "unsigned"
"""The signature of thinking. It proves nothing; but some clients drop thinking without one."""

_INVALID = "invalid_json"
"""The only field of a tool's input if the model's arguments are not a JSON object."""

_REASONS = {
    FinishReason.STOP: "end_turn",
    FinishReason.LENGTH: "max_tokens",
    FinishReason.TOOL_CALLS: "tool_use",
}


def message(answer: Answer, record: RequestRecord) -> dict[str, Any]:
    """The whole message."""
    blocks: list[dict[str, Any]] = []
    if answer.reasoning:
        blocks.append({"type": "thinking", "thinking": answer.reasoning, "signature": _SIGNATURE})
    if answer.text or not (answer.reasoning or answer.tool_calls):
        blocks.append({"type": "text", "text": answer.text})
    blocks += [_tool_use(call) for call in answer.tool_calls]
    return {
        **_head(record),
        "content": blocks,
        **_end(answer.finish_reason, answer.stop),
        "usage": _usage(answer.usage),
        "silkline": evidence(record, answer.timeline),
    }


class MessageEvents:
    """Builds the events of one stream; blocks follow each other, each with its index."""

    def __init__(self, record: RequestRecord) -> None:
        self._record = record
        self._index = -1
        self._open = ""  # the type of the block that is open
        self._calls: dict[int, int] = {}  # the block of each tool call

    def start(self) -> dict[str, Any]:
        """The first event. The usage is known only at the end, so it has zeros."""
        start = {
            **_head(self._record),
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": _usage(Usage(0, 0)),
        }
        return {"type": "message_start", "message": start}

    def of(self, delta: Delta) -> Iterator[dict[str, Any]]:
        """The events of a delta; after the last one, the message is complete."""
        if delta.reasoning:
            yield from self._block("thinking", {"thinking": "", "signature": ""})
            yield _change(self._index, "thinking_delta", thinking=delta.reasoning)
        if delta.text:
            yield from self._block("text", {"text": ""})
            yield _change(self._index, "text_delta", text=delta.text)
        for chunk in delta.tool_calls:
            yield from self._call(chunk)
        if delta.finish_reason and delta.usage and delta.timeline:
            if self._index < 0:
                yield from self._block("text", {"text": ""})
            yield from self._close()
            yield from self._finish(delta.finish_reason, delta.stop, delta.usage, delta.timeline)

    def _call(self, chunk: ToolCallDelta) -> Iterator[dict[str, Any]]:
        if chunk.index not in self._calls:
            yield from self._close()
            start = {"id": chunk.id, "name": chunk.name, "input": {}}
            yield from self._block("tool_use", start)
            self._calls[chunk.index] = self._index
        if chunk.arguments:
            at = self._calls[chunk.index]
            yield _change(at, "input_json_delta", partial_json=chunk.arguments)

    def _block(self, kind: str, start: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Opens a block, unless one of its type is open; closes the one before it."""
        if self._open == kind:
            return
        yield from self._close()
        self._open = kind
        self._index += 1
        block = {"type": kind, **start}
        yield {"type": "content_block_start", "index": self._index, "content_block": block}

    def _close(self) -> Iterator[dict[str, Any]]:
        if not self._open:
            return
        if self._open == "thinking":
            yield _change(self._index, "signature_delta", signature=_SIGNATURE)
        self._open = ""
        yield {"type": "content_block_stop", "index": self._index}

    def _finish(
        self, reason: FinishReason, stop: str, usage: Usage, timeline: Timeline
    ) -> Iterator[dict[str, Any]]:
        yield {
            "type": "message_delta",
            "delta": _end(reason, stop),
            "usage": _usage(usage),
            "silkline": evidence(self._record, timeline),
        }
        yield {"type": "message_stop"}


def _change(index: int, kind: str, **fields: str) -> dict[str, Any]:
    """The event of a block's next characters."""
    delta = {"type": kind, **fields}
    return {"type": "content_block_delta", "index": index, "delta": delta}


def _head(record: RequestRecord) -> dict[str, Any]:
    record.details.answer = f"msg_{record.id}"
    return {
        "id": record.details.answer,
        "type": "message",
        "role": "assistant",
        "model": record.model,
    }


def _end(reason: FinishReason, stop: str) -> dict[str, Any]:
    if stop and reason is FinishReason.STOP:
        return {"stop_reason": "stop_sequence", "stop_sequence": stop}
    return {"stop_reason": _REASONS[reason], "stop_sequence": None}


def _tool_use(call: ToolCall) -> dict[str, Any]:
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": _input(call.arguments)}


def _input(arguments: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(arguments or "{}", type=dict[str, Any])
    except UNDECODABLE:
        return {_INVALID: arguments}


def _usage(usage: Usage) -> dict[str, Any]:
    """The tokens of the prompt that came from a cache are not part of `input_tokens`."""
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
    }
