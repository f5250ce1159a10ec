"""`POST /tokenize`, as in vLLM; `POST /detokenize` is refused.

https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import msgspec
from fastapi import APIRouter, Request
from msgspec import Meta, field
from starlette.responses import Response

from silkline.cache.policy import CacheUse
from silkline.core import PromptOptions, Sampling
from silkline.errors import InvalidRequest, RouteNotFound
from silkline.gateway.body import read_json
from silkline.gateway.direct_route import DirectRoute
from silkline.gateway.disconnect import unless_client_leaves
from silkline.gateway.evidence import evidence_headers
from silkline.gateway.faces.chat_schema import MAX_MESSAGES, ChatMessage, ChatRequest
from silkline.gateway.faces.completions import raw_prompt
from silkline.gateway.fields import unsupported
from silkline.gateway.openapi import ERROR_RESPONSES, body_schema
from silkline.gateway.request_record import record_of
from silkline.service.answering import Answering
from silkline.service.question import Question
from silkline.service.tokens import tokenize

_TOKENS: dict[str, Any] = {
    "description": "The tokens.",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["count", "max_model_len", "tokens", "token_strs"],
                "properties": {
                    "count": {"type": "integer"},
                    "max_model_len": {"type": "integer"},
                    "tokens": {"type": "array", "items": {"type": "integer"}},
                    "token_strs": {"type": "null"},
                },
            }
        }
    },
}


class TokenizeRequest(ChatRequest, frozen=True, kw_only=True):
    """A request for the tokens of a prompt: a text as it is, or the messages of a chat.

    The tokens of a chat are those of its completion, with its tools, and with its images' tokens.
    `add_special_tokens` is true for a text and false for a chat.
    """

    NEUTRAL: ClassVar[Mapping[str, tuple[object, ...]]] = {"return_token_strs": (False,)}
    """Fields of vLLM that are not supported here, and the no-op values each accepts."""

    messages: Annotated[list[ChatMessage], Meta(max_length=MAX_MESSAGES)] = field(
        default_factory=list
    )
    prompt: str | list[Any] | None = None
    add_special_tokens: bool | None = None

    def question(self, cache_use: CacheUse) -> Question:
        """Converts the request to a `Question`.

        Raises:
            InvalidRequest: There is not exactly one of prompt and messages, or as in a chat.
            UrlBlocked: An image's URL is not allowed.
        """
        if (self.prompt is None) is not bool(self.messages):
            found = "neither" if self.prompt is None else "both"
            raise InvalidRequest(
                f"The body has {found} of prompt and messages. Send exactly one of them.",
                param="prompt",
            )
        added = self.prompt is not None
        if self.add_special_tokens is not None and self.add_special_tokens is not added:
            raise unsupported("add_special_tokens", f"Leave it out, or send {str(added).lower()}.")
        if self.prompt is None:
            return super().question(cache_use)
        return Question(
            model=self.model,
            messages=raw_prompt(self.prompt),
            sources=(),
            sampling=Sampling(),
            stream=False,
            cache_use=cache_use,
            options=PromptOptions(raw=True),
        )


def tokenize_routes(answering: Answering) -> APIRouter:
    """The tokenization routes, backed by an `Answering`."""
    router = APIRouter(tags=["vLLM"], route_class=DirectRoute)

    @router.post(
        "/tokenize",
        summary="The tokens of a prompt",
        response_model=None,
        openapi_extra=body_schema(TokenizeRequest),
        responses={200: _TOKENS, **ERROR_RESPONSES},
    )
    async def tokens(request: Request) -> Response:
        record = record_of(request)
        question = (await read_json(request, TokenizeRequest)).question(CacheUse.NONE)
        answer = await unless_client_leaves(request, tokenize(answering, question, record))
        found = {
            "count": answer.usage.prompt_tokens,
            "max_model_len": answering.models.choose(question.model).info.context_length,
            "tokens": answer.prompt_ids,
            "token_strs": None,
        }
        return Response(
            msgspec.json.encode(found),
            headers=evidence_headers(record),
            media_type="application/json",
        )

    @router.post(
        "/detokenize",
        summary="Not available: no engine turns tokens into text",
        status_code=404,
        response_model=None,
        responses={404: ERROR_RESPONSES[404]},
    )
    async def text(request: Request) -> Response:
        del request
        raise RouteNotFound(
            "No engine of this server turns tokens into text. Use the model's own tokenizer."
        )

    return router
