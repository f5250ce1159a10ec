"""The routes of the Anthropic API."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from silkline.cache.policy import CacheUse, cache_use
from silkline.core import Sampling
from silkline.gateway.body import read_json
from silkline.gateway.direct_route import DirectRoute
from silkline.gateway.disconnect import unless_client_leaves
from silkline.gateway.error_bodies import MESSAGES
from silkline.gateway.evidence import evidence_headers
from silkline.gateway.faces.messages.envelope import MessageEvents, message
from silkline.gateway.faces.messages.schema import CountRequest, MessagesRequest
from silkline.gateway.openapi import ANTHROPIC_ERRORS, body_schema, json_body
from silkline.gateway.request_record import record_of
from silkline.gateway.sse import EventStream, event
from silkline.service.answering import Answering
from silkline.service.question import Question
from silkline.service.record import RequestRecord
from silkline.service.tokens import count_tokens

_ANSWERS: dict[str, Any] = {
    "description": "The message; with `stream`, its events as server-sent events.",
    "content": {
        "application/json": {"schema": {"type": "object"}},
        "text/event-stream": {},  # OpenAPI 3.1 has no schema for events
    },
}
_COUNT: dict[str, Any] = {
    "description": "The number of tokens.",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["input_tokens"],
                "properties": {"input_tokens": {"type": "integer"}},
            }
        }
    },
}


def messages_routes(answering: Answering) -> APIRouter:
    """The routes of the Anthropic API, backed by an `Answering`."""
    router = APIRouter(tags=["Anthropic"], route_class=DirectRoute)

    @router.post(
        MESSAGES,
        summary="Message",
        response_model=None,
        openapi_extra=json_body(MessagesRequest),
        responses={200: _ANSWERS, **ANTHROPIC_ERRORS},
    )
    async def messages(request: Request) -> Response:
        record = record_of(request)
        body = await read_json(request, MessagesRequest)
        question = body.question(cache_use(request.headers.get("cache-control", "")))
        if question.stream:
            return EventStream(
                _events(answering, question, record),
                record,
                lambda: _headers(record),
                seconds=answering.seconds_left(record),
                end=b"",
            )
        answer = await unless_client_leaves(request, answering.answer(question, record))
        return _json(message(answer, record), record)

    @router.post(
        f"{MESSAGES}/count_tokens",
        summary="The number of tokens of a prompt",
        response_model=None,
        openapi_extra=body_schema(CountRequest),
        responses={200: _COUNT, **ANTHROPIC_ERRORS},
    )
    async def count(request: Request) -> Response:
        record = record_of(request)
        body = await read_json(request, CountRequest)
        question = body.asked(Sampling(), CacheUse.NONE)
        tokens = await unless_client_leaves(request, count_tokens(answering, question, record))
        return _json({"input_tokens": tokens}, record)

    return router


async def _events(
    answering: Answering, question: Question, record: RequestRecord
) -> AsyncGenerator[bytes, None]:
    events: MessageEvents | None = None
    async with aclosing(answering.deltas(question, record)) as deltas:
        async for delta in deltas:
            found = []
            if events is None:  # only now does the record know the model
                events = MessageEvents(record)
                found.append(events.start())
            found += events.of(delta)
            yield b"".join(event(item, item["type"]) for item in found)


def _json(body: dict[str, Any], record: RequestRecord) -> Response:
    return Response(
        msgspec.json.encode(body), headers=_headers(record), media_type="application/json"
    )


def _headers(record: RequestRecord) -> dict[str, str]:
    return {**evidence_headers(record), "request-id": record.id}
