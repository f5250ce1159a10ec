"""`POST /v1/chat/completions`, compatible with the official OpenAI client."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from silkline.cache.policy import cache_use
from silkline.core import Answer, Timeline, Usage
from silkline.gateway.body import read_json
from silkline.gateway.chat_schema import ChatRequest
from silkline.gateway.direct_route import DirectRoute
from silkline.gateway.disconnect import unless_client_leaves
from silkline.gateway.evidence import evidence_headers, rounded
from silkline.gateway.openapi import ERROR_RESPONSES, json_body
from silkline.gateway.request_record import record_of
from silkline.gateway.sse import EventStream, event
from silkline.service.answering import Answering
from silkline.service.question import Question
from silkline.service.record import RequestRecord

_ANSWERS: dict[str, Any] = {
    "description": "The completion; with `stream`, its chunks as server-sent events.",
    "content": {
        "application/json": {"schema": {"type": "object"}},
        "text/event-stream": {},  # OpenAPI 3.1 has no schema for events
    },
}


def chat_routes(answering: Answering) -> APIRouter:
    """The chat completion route, backed by an `Answering`."""
    router = APIRouter(tags=["OpenAI"], route_class=DirectRoute)

    @router.post(
        "/v1/chat/completions",
        summary="Chat completion",
        response_model=None,
        openapi_extra=json_body(ChatRequest),
        responses={200: _ANSWERS, **ERROR_RESPONSES},
    )
    async def chat(request: Request) -> Response:
        record = record_of(request)
        body = await read_json(request, ChatRequest)
        question = body.question(cache_use(request.headers.get("cache-control", "")))
        if question.stream:
            stream = _ChatStream(answering, question, record, with_usage=body.wants_usage)
            return EventStream(
                stream.events(), record, stream.headers, seconds=answering.seconds_left(record)
            )
        answer = await unless_client_leaves(request, answering.answer(question, record))
        envelope = _Envelope(record)
        return Response(
            msgspec.json.encode(envelope.completion(answer)),
            headers=evidence_headers(record),
            media_type="application/json",
        )

    return router


class _ChatStream:
    """Builds the chunks of one streamed completion: role and text, finish reason, usage."""

    def __init__(
        self, answering: Answering, question: Question, record: RequestRecord, *, with_usage: bool
    ) -> None:
        self._answering = answering
        self._question = question
        self._record = record
        self._with_usage = with_usage

    def headers(self) -> dict[str, str]:
        """The response headers, with the stages known at the first chunk."""
        return evidence_headers(self._record)

    async def events(self) -> AsyncGenerator[bytes, None]:
        """Yields chunks with text, one with only the finish reason, one with the usage if asked."""
        envelope: _Envelope | None = None
        delta: dict[str, str] = {"role": "assistant"}
        async with aclosing(self._answering.deltas(self._question, self._record)) as answer:
            async for part in answer:
                envelope = envelope or _Envelope(self._record, with_usage=self._with_usage)
                chunks = []
                if part.text or delta:
                    chunks.append(envelope.chunk({**delta, "content": part.text}))
                    delta = {}
                if part.finish_reason and part.usage and part.timeline:
                    chunks.append(envelope.finish_chunk(part.finish_reason, part.timeline))
                    if self._with_usage:
                        chunks.append(envelope.usage_chunk(part.usage, part.timeline))
                yield b"".join(map(event, chunks))


class _Envelope:
    """Builds the completion objects of one request, which share id, time and model."""

    def __init__(self, record: RequestRecord, *, with_usage: bool = False) -> None:
        self._record = record
        self._common: dict[str, Any] = {
            "id": f"chatcmpl-{record.id}",
            "created": int(time.time()),
            "model": record.model,
        }
        self._common_in_chunks = {**self._common, "object": "chat.completion.chunk"}
        if with_usage:
            self._common_in_chunks["usage"] = None

    def completion(self, answer: Answer) -> dict[str, Any]:
        message = {"role": "assistant", "content": answer.text, "refusal": None}
        choice = {
            "index": 0,
            "message": message,
            "finish_reason": answer.finish_reason,
            "logprobs": None,
        }
        return {
            **self._common,
            "object": "chat.completion",
            "choices": [choice],
            "usage": _usage(answer.usage),
            "silkline": self._evidence(answer.timeline),
        }

    def chunk(self, delta: dict[str, str], finish_reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
        return {**self._common_in_chunks, "choices": [choice]}

    def finish_chunk(self, finish_reason: str, timeline: Timeline) -> dict[str, Any]:
        """Has no text: clients ignore the text of a chunk with a finish reason."""
        chunk = self.chunk({}, finish_reason)
        if self._record.max_tokens is None:
            return chunk
        return {**chunk, "silkline": self._evidence(timeline)}

    def usage_chunk(self, usage: Usage, timeline: Timeline) -> dict[str, Any]:
        return {
            **self._common_in_chunks,
            "choices": [],
            "usage": _usage(usage),
            "silkline": self._evidence(timeline),
        }

    def _evidence(self, timeline: Timeline) -> dict[str, Any]:
        evidence = {
            "cache": self._record.cache,
            "model": self._record.served,
            "pixel_budget": self._record.pixel_budget,
            "timeline": rounded(timeline),
        }
        if self._record.max_tokens is not None:
            evidence["max_tokens"] = self._record.max_tokens
        return evidence


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "image_tokens": usage.image_tokens,
        },
    }
