"""`POST /v1/chat/completions`, compatible with the official OpenAI client."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from silkline.cache.policy import cache_use
from silkline.core import Usage
from silkline.gateway.body import read_json
from silkline.gateway.direct_route import DirectRoute
from silkline.gateway.disconnect import unless_client_leaves
from silkline.gateway.evidence import evidence_headers
from silkline.gateway.faces.chat_envelope import Envelope
from silkline.gateway.faces.chat_schema import ChatRequest
from silkline.gateway.openapi import ERROR_RESPONSES, json_body
from silkline.gateway.request_record import record_of
from silkline.gateway.sse import EventStream, event
from silkline.service.answering import Answering
from silkline.service.choices import answers, deltas
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
        found = await unless_client_leaves(request, answers(answering, question, record))
        envelope = Envelope(record)
        return Response(
            msgspec.json.encode(envelope.completion(found)),
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
        envelope: Envelope | None = None
        started: set[int] = set()
        usages: list[Usage] = []
        stream = deltas(self._answering, self._question, self._record)
        async with aclosing(stream) as answer:
            async for index, part in answer:
                envelope = envelope or Envelope(self._record, with_usage=self._with_usage)
                chunks = []
                content = envelope.content(part, first=index not in started)
                if content:
                    chunks.append(envelope.chunk(index, content, part.logprobs))
                    started.add(index)
                if part.finish_reason and part.usage and part.timeline:
                    usages.append(part.usage)
                    chunks.append(envelope.finish_chunk(index, part.finish_reason, part.timeline))
                    if self._with_usage and len(usages) == self._question.choices:
                        chunks.append(envelope.usage_chunk(usages, part.timeline))
                yield b"".join(map(event, chunks))
