"""`POST /v1/chat/completions`, compatible with the official OpenAI client."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from silkline.cache.policy import cache_use
from silkline.gateway.body import read_json
from silkline.gateway.direct_route import DirectRoute
from silkline.gateway.faces.chat_envelope import Envelope
from silkline.gateway.faces.chat_schema import ChatRequest
from silkline.gateway.faces.choice_response import CHOICE_RESPONSES, choice_response
from silkline.gateway.openapi import ERROR_RESPONSES, json_body
from silkline.service.answering import Answering


def chat_routes(answering: Answering) -> APIRouter:
    """The chat completion route, backed by an `Answering`."""
    router = APIRouter(tags=["OpenAI"], route_class=DirectRoute)

    @router.post(
        "/v1/chat/completions",
        summary="Chat completion",
        response_model=None,
        openapi_extra=json_body(ChatRequest),
        responses={200: CHOICE_RESPONSES, **ERROR_RESPONSES},
    )
    async def chat(request: Request) -> Response:
        body = await read_json(request, ChatRequest)
        question = body.question(cache_use(request.headers.get("cache-control", "")))
        return await choice_response(request, answering, question, Envelope, body.stream_options)

    return router
