"""`POST /v1/chat/completions` and `GET /v1/models`, as the official OpenAI client speaks them."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from silkline.core import Answer, Timeline, Usage
from silkline.engines.base import EngineInfo
from silkline.gateway.answering import Answering, Prepared, rounded, server_timing
from silkline.gateway.chat_schema import ChatRequest
from silkline.gateway.disconnect import unless_client_leaves
from silkline.gateway.scope import RequestRecord, record_of
from silkline.gateway.sse import EventStream, event


def chat_routes(answering: Answering) -> APIRouter:
    """The OpenAI routes over an `Answering`."""
    router = APIRouter(tags=["OpenAI"])

    @router.post("/v1/chat/completions", summary="Chat completion", response_model=None)
    async def chat(body: ChatRequest, request: Request) -> Response:
        record = record_of(request)
        prepared = await unless_client_leaves(request, answering.prepare(body.question(), record))
        envelope = _Envelope(record, answering.info.model, answering.info.revision)
        if body.stream:
            events = _events(answering, prepared, envelope, with_usage=body.wants_usage)
            return EventStream(events, record, envelope.headers(prepared.timeline))
        answer = await unless_client_leaves(request, answering.whole(prepared, record))
        return Response(
            msgspec.json.encode(envelope.whole(answer)),
            headers=envelope.headers(answer.timeline),
            media_type="application/json",
        )

    @router.get("/v1/models", summary="What is served")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [_model(answering.info)]}

    @router.get("/v1/models/{name:path}", summary="What is served, by name")
    async def model(name: str) -> dict[str, Any]:
        answering.check_model(name)
        return _model(answering.info)

    return router


async def _events(
    answering: Answering, prepared: Prepared, envelope: _Envelope, *, with_usage: bool
) -> AsyncGenerator[bytes, None]:
    """The chunks of a streamed completion: role and text, finish reason, usage."""
    delta: dict[str, str] = {"role": "assistant"}
    async with aclosing(answering.stream(prepared, envelope.record)) as deltas:
        async for piece in deltas:
            delta["content"] = piece.text
            yield event(envelope.chunk(delta, piece.finish_reason))
            delta = {}
            if with_usage and piece.usage is not None and piece.timeline is not None:
                yield event(envelope.usage_chunk(piece.usage, piece.timeline))


class _Envelope:
    """What the completion objects of one request have in common."""

    def __init__(self, record: RequestRecord, model: str, revision: str) -> None:
        self.record = record
        self._served = f"{model}@{revision}"
        self._common = {
            "id": f"chatcmpl-{record.id}",
            "created": int(time.time()),
            "model": model,
        }

    def headers(self, timeline: Timeline) -> dict[str, str]:
        """The headers of the response; for a stream, with the stages known when it starts."""
        return {
            "x-silkline-cache": self.record.cache,
            "x-silkline-model": self._served,
            "server-timing": server_timing(timeline),
        }

    def whole(self, answer: Answer) -> dict[str, Any]:
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

    def chunk(self, delta: dict[str, str], finish_reason: str | None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
        return {**self._common, "object": "chat.completion.chunk", "choices": [choice]}

    def usage_chunk(self, usage: Usage, timeline: Timeline) -> dict[str, Any]:
        return {
            **self._common,
            "object": "chat.completion.chunk",
            "choices": [],
            "usage": _usage(usage),
            "silkline": self._evidence(timeline),
        }

    def _evidence(self, timeline: Timeline) -> dict[str, Any]:
        return {
            "cache": self.record.cache,
            "model": self._served,
            "timeline": rounded(timeline),
        }


def _model(info: EngineInfo) -> dict[str, Any]:
    return {
        "id": info.model,
        "object": "model",
        "created": 0,
        "owned_by": "silkline",
        "revision": info.revision,
        "engine": info.engine,
        "precision": info.precision,
        "context_length": info.context_length,
        "image_tokens": info.image_tokens,
    }


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
