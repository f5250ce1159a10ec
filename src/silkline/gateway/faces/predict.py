"""`POST /predict`: one image and one prompt, as a form upload or as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import msgspec
from fastapi import APIRouter, Request
from msgspec import Meta, Struct
from starlette.responses import Response

from silkline.cache.policy import cache_use
from silkline.core import Answer, ImagePart, Message, PromptOptions, Role, Sampling, TextPart
from silkline.errors import InvalidRequest
from silkline.gateway.body import invalid_body, media_type, read_json
from silkline.gateway.direct_route import DirectRoute
from silkline.gateway.disconnect import unless_client_leaves
from silkline.gateway.evidence import evidence_headers, rounded
from silkline.gateway.faces.image_fields import DETAILS, Detail, ImageFields, MaxPixels, MinPixels
from silkline.gateway.faces.sampling_fields import SamplingFields, Tokens
from silkline.gateway.faces.tool_fields import EFFORTS, ThinkingFields
from silkline.gateway.form import read_form
from silkline.gateway.openapi import ERROR_RESPONSES, json_body
from silkline.gateway.request_record import record_of
from silkline.ingress.source import Source, parse_base64, parse_url, uploaded
from silkline.service.answering import Answering
from silkline.service.question import Question

DEFAULT_PROMPT = "Describe this product."
_MULTIPART = "multipart/form-data"
_FILE = "image"


class PredictForm(ImageFields, frozen=True, forbid_unknown_fields=True):
    """The form fields beside the uploaded image."""

    VALUES: ClassVar[Mapping[str, str]] = {"detail": DETAILS}
    """Allowed values of fields that have few."""

    prompt: Annotated[str, Meta(min_length=1)] = DEFAULT_PROMPT
    max_tokens: Annotated[int, Meta(ge=1)] = Sampling().max_tokens
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    model: str | None = None


class PredictRequest(ThinkingFields, frozen=True, kw_only=True):
    """The JSON body: the form fields, and the image as an http, https or data URL or in Base64.

    It also takes a chat completion's sampling fields, constraints and control of thinking.
    """

    VALUES: ClassVar[Mapping[str, str]] = {
        **PredictForm.VALUES,
        "reasoning.effort": EFFORTS,
        "reasoning_effort": EFFORTS,
        "thinking.type": "enabled, disabled, auto or adaptive",
    }

    INSTEAD: ClassVar[Mapping[str, str]] = {
        "image": "image_base64 or image_url",
        "max_completion_tokens": "max_tokens",
        "question": "prompt",
        "text": "prompt",
        "url": "image_url",
    }
    """Names that other APIs use, and the field to send here."""

    NEUTRAL: ClassVar[Mapping[str, tuple[object, ...]]] = {
        "add_generation_prompt": (True,),
        "continue_final_message": (False,),
        "logprobs": (False,),
        "messages": (),
        "n": (1,),
        "stream": (False,),
        "tool_choice": ("none", "auto"),
        "tools": ([],),
        "top_logprobs": (0,),
    }
    """Fields of `/v1/chat/completions` not supported here, and their accepted no-op values."""

    prompt: Annotated[str, Meta(min_length=1)] = DEFAULT_PROMPT
    max_tokens: Tokens | None = None
    model: str | None = None
    image_url: str | None = None
    image_base64: str | None = None
    detail: Detail | None = None
    min_pixels: MinPixels | None = None
    max_pixels: MaxPixels | None = None

    def source(self) -> Source:
        """The source of the image.

        Raises:
            InvalidRequest: There is not exactly one image, its data URL is invalid, or its minimum
                of pixels exceeds the maximum.
            UrlBlocked: The URL is not allowed.
        """
        own = ImageFields(
            detail=self.detail, min_pixels=self.min_pixels, max_pixels=self.max_pixels
        )
        pixels = own.pixels()
        if self.image_url is not None and self.image_base64 is None:
            return parse_url(self.image_url, param="image_url", pixels=pixels)
        if self.image_base64 is not None and self.image_url is None:
            return parse_base64(self.image_base64, param="image_base64", pixels=pixels)
        found = "neither" if self.image_url is None else "both"
        raise InvalidRequest(
            f"The body has {found} of image_url and image_base64. Send exactly one of them.",
            param="image_url",
        )


class PredictUsage(Struct, frozen=True):
    """The token counts of an answer."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    image_tokens: int
    cached_tokens: int


class PredictAnswer(Struct, frozen=True):
    """The response body of `/predict`.

    `timeline` has seconds by stage. `silkline` has the effective `max_tokens` if it is lower than
    the requested one.
    """

    response: str
    finish_reason: str
    usage: PredictUsage
    cache: str
    timeline: dict[str, float]
    model: str
    request_id: str
    silkline: dict[str, int] | msgspec.UnsetType = msgspec.UNSET


def predict_answer(
    answer: Answer, *, model: str, cache: str, request_id: str, max_tokens: int | None = None
) -> PredictAnswer:
    """Builds the response body of `/predict`; `max_tokens` as in a `RequestRecord`."""
    usage = answer.usage
    return PredictAnswer(
        response=answer.text,
        finish_reason=answer.finish_reason.value,
        usage=PredictUsage(
            usage.prompt_tokens,
            usage.completion_tokens,
            usage.total_tokens,
            usage.image_tokens,
            usage.cached_tokens,
        ),
        cache=cache,
        timeline=rounded(answer.timeline),
        model=model,
        request_id=request_id,
        silkline=msgspec.UNSET if max_tokens is None else {"max_tokens": max_tokens},
    )


def predict_routes(answering: Answering) -> APIRouter:
    """The `/predict` route, backed by an `Answering`."""
    router = APIRouter(tags=["Silkline"], route_class=DirectRoute)

    @router.post(
        "/predict",
        summary="One image, one answer",
        response_model=None,
        openapi_extra=_body_schemas(),
        responses=ERROR_RESPONSES,
    )
    async def predict(request: Request) -> Response:
        record = record_of(request)
        question = await _question(request)
        answer = await unless_client_leaves(request, answering.answer(question, record))
        body = predict_answer(
            answer,
            model=record.served,
            cache=record.cache,
            request_id=record.id,
            max_tokens=record.max_tokens,
        )
        headers = evidence_headers(record)
        return Response(msgspec.json.encode(body), headers=headers, media_type="application/json")

    return router


async def _question(request: Request) -> Question:
    options = PromptOptions()
    if media_type(request) == _MULTIPART:
        form, source = await _from_form(request)
        sampling = Sampling(max_tokens=form.max_tokens, temperature=form.temperature or 0.0)
        prompt, model = form.prompt, form.model
        unset = SamplingFields(temperature=form.temperature).unset()
    else:
        body = await read_json(request, PredictRequest, instead=f"a form as {_MULTIPART}")
        source = body.source()
        sampling = body.sampling(body.max_tokens, None, body.constraint())
        prompt, model, unset = body.prompt, body.model, body.unset()
        thinking, effort = body.thinks()
        options = PromptOptions(thinking=thinking, effort=effort)
    parts = (ImagePart(0), TextPart(prompt))
    return Question(
        model=model,
        messages=(Message(Role.USER, parts),),
        sources=(source,),
        sampling=sampling,
        stream=False,
        cache_use=cache_use(request.headers.get("cache-control", "")),
        options=options,
        unset=unset,
    )


async def _from_form(request: Request) -> tuple[PredictForm, Source]:
    form = await read_form(request, _FILE, PredictForm.__struct_fields__)
    if form.file is None:
        raise InvalidRequest(
            f"The form has no file named `{_FILE}`. Upload the image under that name.",
            param=_FILE,
        )
    try:
        fields = msgspec.convert(form.fields, PredictForm, strict=False)
    except msgspec.ValidationError as error:
        raise invalid_body(error, PredictForm) from error
    return fields, uploaded(form.file, param=_FILE, pixels=fields.pixels())


def _body_schemas() -> dict[str, Any]:
    """The OpenAPI description of the JSON body and the form."""
    extra = json_body(PredictRequest)
    fields = msgspec.json.schema(PredictForm)["$defs"]["PredictForm"]["properties"]
    image = {"type": "string", "format": "binary"}
    form = {"type": "object", "required": ["image"], "properties": {"image": image, **fields}}
    extra["requestBody"]["content"][_MULTIPART] = {"schema": form}
    return extra
