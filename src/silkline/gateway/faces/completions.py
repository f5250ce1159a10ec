"""`POST /v1/completions`: continues a text, without the chat template.

https://platform.openai.com/docs/api-reference/completions
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, Request
from msgspec import Meta
from starlette.responses import Response

from silkline.cache.policy import CacheUse, cache_use
from silkline.core import (
    Answer,
    Delta,
    Message,
    PromptOptions,
    Role,
    TextPart,
    TokenLogprob,
)
from silkline.errors import InvalidRequest
from silkline.gateway.body import read_json
from silkline.gateway.direct_route import DirectRoute
from silkline.gateway.faces.chat_envelope import Envelope
from silkline.gateway.faces.chat_schema import StreamOptions
from silkline.gateway.faces.choice_response import CHOICE_RESPONSES, choice_response
from silkline.gateway.faces.constraints import ConstraintFields
from silkline.gateway.faces.sampling_fields import MAX_CHOICES, MAX_LOGPROBS, Tokens
from silkline.gateway.openapi import ERROR_RESPONSES, json_body
from silkline.service.answering import Answering
from silkline.service.question import Question
from silkline.service.record import RequestRecord

_DEFAULT_TOKENS = 16
"""Maximum tokens of an answer, as in the OpenAI API."""


class CompletionRequest(ConstraintFields, frozen=True, kw_only=True):
    """A request to continue a text: `prompt`, or the only text in it."""

    INSTEAD: ClassVar[Mapping[str, str]] = {
        "max_completion_tokens": "max_tokens",
        "messages": "prompt, or use /v1/chat/completions",
        "top_logprobs": "logprobs, a number",
    }
    """Fields of `/v1/chat/completions`, and the field to send here."""

    NEUTRAL: ClassVar[Mapping[str, tuple[object, ...]]] = {
        "add_special_tokens": (True,),
        "reasoning_effort": ("none",),
        "suffix": ("",),
        "tool_choice": ("none", "auto"),
        "tools": ([],),
    }
    """Fields that are not supported here, and the no-op values each accepts."""

    prompt: str | list[Any]
    model: str | None = None
    max_tokens: Tokens | None = None
    n: Annotated[int, Meta(ge=1, le=MAX_CHOICES)] | None = None
    logprobs: Annotated[int, Meta(ge=0, le=MAX_LOGPROBS)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    def question(self, cache_use: CacheUse) -> Question:
        """Converts the request to a `Question`.

        Raises:
            InvalidRequest: The prompt is not one text, or two fields contradict each other.
        """
        return Question(
            model=self.model,
            messages=raw_prompt(self.prompt),
            sources=(),
            sampling=self.sampling(
                self.max_tokens or _DEFAULT_TOKENS, self.logprobs, self.constraint()
            ),
            stream=bool(self.stream),
            cache_use=cache_use,
            options=PromptOptions(raw=True),
            choices=self.n or 1,
            unset=self.unset(),
        )


def raw_prompt(prompt: str | Sequence[Any]) -> tuple[Message, ...]:
    """Returns the only message of a raw prompt.

    Raises:
        InvalidRequest: The prompt is empty, or a list of anything but one text.
    """
    texts = [prompt] if isinstance(prompt, str) else prompt
    if len(texts) != 1 or not isinstance(texts[0], str):
        raise InvalidRequest(
            "The field prompt is wrong: token ids and several prompts are not supported. Send one "
            "text.",
            param="prompt",
        )
    if not texts[0]:
        raise InvalidRequest("The prompt is empty. Send a text.", param="prompt")
    return (Message(Role.USER, (TextPart(texts[0]),)),)


class CompletionEnvelope(Envelope):
    """Builds the objects of text completions."""

    PREFIX = "cmpl-"
    WHOLE = CHUNK = "text_completion"

    def __init__(self, record: RequestRecord, *, with_usage: bool = False) -> None:
        super().__init__(record, with_usage=with_usage)
        self._offsets: dict[int, int] = {}

    def choice(self, index: int, answer: Answer) -> dict[str, Any]:
        """See `Envelope`."""
        found = self._choice(index, answer.text, answer.logprobs, answer.finish_reason)
        return {**found, "stop_reason": answer.stop} if answer.stop else found

    def content(self, delta: Delta, *, first: bool) -> dict[str, Any]:
        """See `Envelope`; a text completion has no role."""
        del first
        return {"text": delta.text} if delta.text or delta.logprobs else {}

    def chunk(
        self, index: int, content: dict[str, Any], logprobs: Sequence[TokenLogprob] = ()
    ) -> dict[str, Any]:
        """See `Envelope`."""
        return self.chunk_of(self._choice(index, content.get("text", ""), logprobs))

    def _choice(
        self, index: int, text: str, logprobs: Sequence[TokenLogprob], reason: str | None = None
    ) -> dict[str, Any]:
        found = None
        if logprobs:
            found = _logprobs(logprobs, self._offsets.get(index, 0))
            characters = sum(len(token.token) for token in logprobs)
            self._offsets[index] = self._offsets.get(index, 0) + characters
        return {"index": index, "text": text, "logprobs": found, "finish_reason": reason}


def _logprobs(tokens: Sequence[TokenLogprob], offset: int) -> dict[str, Any]:
    """The log-probabilities in the API's form; `offset` is the first token's in the text."""
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token.token)
    return {
        "tokens": [token.token for token in tokens],
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": [
            {other.token: other.logprob for other in reversed(token.top)} for token in tokens
        ],
        "text_offset": offsets,
    }


def completion_routes(answering: Answering) -> APIRouter:
    """The text completion route, backed by an `Answering`."""
    router = APIRouter(tags=["OpenAI"], route_class=DirectRoute)

    @router.post(
        "/v1/completions",
        summary="Text completion, without the chat template",
        response_model=None,
        openapi_extra=json_body(CompletionRequest),
        responses={200: CHOICE_RESPONSES, **ERROR_RESPONSES},
    )
    async def complete(request: Request) -> Response:
        body = await read_json(request, CompletionRequest)
        question = body.question(cache_use(request.headers.get("cache-control", "")))
        return await choice_response(
            request, answering, question, CompletionEnvelope, body.stream_options
        )

    return router
