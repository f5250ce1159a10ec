"""`POST /predict`: the simple form, for a form upload or a few lines of JSON."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.responses import Response

from silkline.core import ImagePart, Message, Role, Sampling, TextPart
from silkline.errors import InvalidRequest
from silkline.gateway.answering import Answering, rounded, server_timing
from silkline.gateway.disconnect import unless_client_leaves
from silkline.gateway.question import Question
from silkline.gateway.scope import record_of
from silkline.ingress.source import Source, parse_base64, parse_url, uploaded

DEFAULT_PROMPT = "Describe this product."
_MULTIPART = "multipart/form-data"
_MAX_FORM_FIELDS = 8


class PredictRequest(BaseModel):
    """The JSON body: a picture and what to say about it."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    image_url: str | None = Field(None, description="http, https or data URL of the picture.")
    image_base64: str | None = Field(None, description="The picture's bytes in Base64.")
    prompt: str = Field(DEFAULT_PROMPT, min_length=1)
    max_tokens: int = Field(Sampling().max_tokens, ge=1)
    temperature: float = Field(0.0, ge=0, le=2)
    model: str | None = None

    def source(self) -> Source:
        """Where the picture comes from.

        Raises:
            InvalidRequest: There is not exactly one picture, or its Base64 is broken.
        """
        if (self.image_url is None) == (self.image_base64 is None):
            raise InvalidRequest(
                "Give the picture as exactly one of image_url and image_base64.", param="image_url"
            )
        if self.image_url is not None:
            return parse_url(self.image_url, param="image_url")
        return parse_base64(self.image_base64 or "", param="image_base64")


class PredictAnswer(BaseModel):
    """What `/predict` answers."""

    response: str
    usage: dict[str, int]
    cache: str
    timeline: dict[str, float] = Field(description="Seconds by stage.")
    model: str
    request_id: str


def predict_routes(answering: Answering) -> APIRouter:
    """The `/predict` route over an `Answering`."""
    router = APIRouter(tags=["Silkline"])

    @router.post(
        "/predict",
        summary="One picture, one answer",
        response_model=PredictAnswer,
        openapi_extra={"requestBody": _request_body()},
    )
    async def predict(request: Request) -> Response:
        record = record_of(request)
        question = await _question(request)
        prepared = await unless_client_leaves(request, answering.prepare(question, record))
        answer = await unless_client_leaves(request, answering.whole(prepared, record))
        info = answering.info
        body = {
            "response": answer.text,
            "usage": {
                "prompt_tokens": answer.usage.prompt_tokens,
                "completion_tokens": answer.usage.completion_tokens,
                "total_tokens": answer.usage.total_tokens,
                "image_tokens": answer.usage.image_tokens,
                "cached_tokens": answer.usage.cached_tokens,
            },
            "cache": record.cache,
            "timeline": rounded(answer.timeline),
            "model": f"{info.model}@{info.revision}",
            "request_id": record.id,
        }
        headers = {
            "x-silkline-cache": record.cache,
            "x-silkline-model": f"{info.model}@{info.revision}",
            "server-timing": server_timing(answer.timeline),
        }
        return Response(msgspec.json.encode(body), headers=headers, media_type="application/json")

    return router


async def _question(request: Request) -> Question:
    if request.headers.get("content-type", "").startswith(_MULTIPART):
        body, source = await _from_form(request)
    else:
        body = _validated(await request.body())
        source = body.source()
    parts = (ImagePart(0), TextPart(body.prompt))
    return Question(
        model=body.model,
        messages=(Message(Role.USER, parts),),
        sources=(source,),
        sampling=Sampling(max_tokens=body.max_tokens, temperature=body.temperature),
        stream=False,
    )


async def _from_form(request: Request) -> tuple[PredictRequest, Source]:
    async with request.form(max_files=1, max_fields=_MAX_FORM_FIELDS) as form:
        image = form.get("image")
        if not isinstance(image, UploadFile):
            raise InvalidRequest("Upload the picture as the form's file `image`.", param="image")
        return _validated_form(form), uploaded(await image.read(), param="image")


def _validated_form(form: FormData) -> PredictRequest:
    fields: dict[str, Any] = {name: value for name, value in form.items() if name != "image"}
    try:
        return PredictRequest.model_validate(fields)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error


def _validated(body: bytes) -> PredictRequest:
    try:
        return PredictRequest.model_validate_json(body)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error


def _request_body() -> dict[str, Any]:
    """The OpenAPI description of both forms of the body."""
    schema = PredictRequest.model_json_schema()
    fields = {
        name: field
        for name, field in schema["properties"].items()
        if name not in {"image_url", "image_base64"}
    }
    form = {
        "type": "object",
        "required": ["image"],
        "properties": {"image": {"type": "string", "format": "binary"}, **fields},
    }
    return {
        "required": True,
        "content": {"application/json": {"schema": schema}, _MULTIPART: {"schema": form}},
    }
