"""Builds chat completions and their chunks.

https://platform.openai.com/docs/api-reference/chat/object and `chat/streaming`; the reasoning has
the field that vLLM, SGLang and DeepSeek use, `reasoning_content`; the stop string that ended an
answer is vLLM's `stop_reason`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, ClassVar

from silkline.core import Answer, Delta, Timeline, TokenLogprob, ToolCallDelta, Usage
from silkline.gateway.evidence import evidence
from silkline.service.record import RequestRecord


class Envelope:
    """Builds the completion objects of one request, which share id, time and model."""

    PREFIX: ClassVar[str] = "chatcmpl-"
    WHOLE: ClassVar[str] = "chat.completion"
    CHUNK: ClassVar[str] = "chat.completion.chunk"

    def __init__(self, record: RequestRecord, *, with_usage: bool = False) -> None:
        self._record = record
        record.details.answer = f"{self.PREFIX}{record.id}"
        self._common: dict[str, Any] = {
            "id": record.details.answer,
            "created": int(time.time()),
            "model": record.model,
        }
        self._common_in_chunks = {**self._common, "object": self.CHUNK}
        if with_usage:
            self._common_in_chunks["usage"] = None

    def completion(self, answers: Sequence[Answer]) -> dict[str, Any]:
        """The whole completion, with one choice for each answer."""
        return {
            **self._common,
            "object": self.WHOLE,
            "choices": [self.choice(index, answer) for index, answer in enumerate(answers)],
            "usage": _usage([answer.usage for answer in answers]),
            "silkline": evidence(self._record, answers[0].timeline),
        }

    def choice(self, index: int, answer: Answer) -> dict[str, Any]:
        """A choice of the whole completion."""
        stop = {"stop_reason": answer.stop} if answer.stop else {}
        return {
            "index": index,
            "message": _message(answer),
            "finish_reason": answer.finish_reason,
            **stop,
            "logprobs": _logprobs(answer.logprobs),
        }

    def content(self, delta: Delta, *, first: bool) -> dict[str, Any]:
        """The `delta` of a chunk; empty if there is nothing to send.

        Args:
            delta: What the engine generated.
            first: Whether this is the first chunk of its choice, which has the role.
        """
        content: dict[str, Any] = {"role": "assistant", "content": ""} if first else {}
        if delta.reasoning:
            content["reasoning_content"] = delta.reasoning
        if delta.text:
            content["content"] = delta.text
        if delta.tool_calls:
            content["tool_calls"] = [_call_chunk(call) for call in delta.tool_calls]
        if delta.logprobs:
            content.setdefault("content", "")
        return content

    def chunk(
        self, index: int, content: dict[str, Any], logprobs: Sequence[TokenLogprob] = ()
    ) -> dict[str, Any]:
        """A chunk of a choice."""
        choice = {
            "index": index,
            "delta": content,
            "finish_reason": None,
            "logprobs": _logprobs(logprobs),
        }
        return self.chunk_of(choice)

    def chunk_of(self, choice: dict[str, Any]) -> dict[str, Any]:
        """A chunk with one choice."""
        return {**self._common_in_chunks, "choices": [choice]}

    def finish_chunk(self, index: int, last: Delta) -> dict[str, Any]:
        """Has no text: clients ignore the text of a chunk with a finish reason."""
        chunk = self.chunk(index, {})
        chunk["choices"][0]["finish_reason"] = last.finish_reason
        if last.stop:
            chunk["choices"][0]["stop_reason"] = last.stop
        if self._record.max_tokens is None or last.timeline is None:
            return chunk
        return {**chunk, "silkline": evidence(self._record, last.timeline)}

    def usage_chunk(self, usages: Sequence[Usage], timeline: Timeline) -> dict[str, Any]:
        """The last chunk, without choices."""
        return {
            **self._common_in_chunks,
            "choices": [],
            "usage": _usage(usages),
            "silkline": evidence(self._record, timeline),
        }


def _message(answer: Answer) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
    if answer.reasoning:
        message["reasoning_content"] = answer.reasoning
    if answer.tool_calls:
        message["content"] = answer.text or None
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in answer.tool_calls
        ]
    return message


def _call_chunk(call: ToolCallDelta) -> dict[str, Any]:
    function = {"arguments": call.arguments}
    if not call.name:
        return {"index": call.index, "function": function}
    named = {"name": call.name, **function}
    return {"index": call.index, "id": call.id, "type": "function", "function": named}


def _logprobs(tokens: Sequence[TokenLogprob]) -> dict[str, Any] | None:
    if not tokens:
        return None
    content = [
        {**_token(token), "top_logprobs": [_token(other) for other in token.top]}
        for token in tokens
    ]
    return {"content": content, "refusal": None}


def _token(token: TokenLogprob) -> dict[str, Any]:
    return {"token": token.token, "logprob": token.logprob, "bytes": list(token.data)}


def _usage(usages: Sequence[Usage]) -> dict[str, Any]:
    """The usage of a request: its prompt once, and the tokens of all its answers."""
    first = usages[0]
    completion = sum(usage.completion_tokens for usage in usages)
    return {
        "prompt_tokens": first.prompt_tokens,
        "completion_tokens": completion,
        "total_tokens": first.prompt_tokens + completion,
        "prompt_tokens_details": {
            "cached_tokens": first.cached_tokens,
            "image_tokens": first.image_tokens,
        },
        "completion_tokens_details": {
            "reasoning_tokens": sum(usage.reasoning_tokens for usage in usages)
        },
    }
