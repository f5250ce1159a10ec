"""`POST /predict`: the simple form, for a form upload or a few lines of JSON."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from typing import Annotated, Any, ClassVar

import msgspec
from fastapi import APIRouter, Request
from msgspec import Meta, Struct
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.responses import Response

from silkline.cache.policy import cache_use
from silkline.core import Answer, ImagePart, Message, Role, Sampling, TextPart
from silkline.errors import InvalidRequest
from silkline.gateway.answering import Answering, evidence_headers, rounded
from silkline.gateway.body import read_json, unfit
from silkline.gateway.direct_route import DirectRoute
from silkline.gateway.disconnect import unless_client_leaves
from silkline.gateway.openapi import ERROR_RESPONSES, json_body
from silkline.gateway.question import Question
from silkline.gateway.request_record import record_of
from silkline.ingress.source import Source, parse_base64, parse_url, uploaded

DEFAULT_PROMPT = "Describe this product."
_MULTIPART = "multipart/form-data"
_MAX_FORM_FIELDS = 8


class PredictForm(Struct, frozen=True, forbid_unknown_fields=True):
    """What goes with an uploaded picture."""

    prompt: Annotated[str, Meta(min_length=1)] = DEFAULT_PROMPT
    max_tokens: Annotated[int, Meta(ge=1)] = Sampling().max_tokens
    temperature: Annotated[float, Meta(ge=0, le=2)] = 0.0
    model: str | None = None


class PredictRequest(PredictForm, frozen=True, forbid_unknown_fields=True):
    """The JSON body: the same, and the picture as an http, https or data URL, or in Base64."""

    INSTEAD: ClassVar[Mapping[str, str]] = {
        "image": "image_base64 or image_url",
        "max_completion_tokens": "max_tokens",
        "question": "prompt",
        "text": "prompt",
        "url": "image_url",
    }
    """What others call our fields."""

    NEUTRAL: ClassVar[Mapping[str, tuple[object, ...]]] = {
        "messages": (),
        "seed": (-1,),
        "stop": ([],),
        "stream": (False,),
        "top_p": (1,),
    }
    """Fields that `/v1/chat/completions` takes, and their values without effect here."""

    image_url: str | None = None
    image_base64: str | None = None

    def source(self) -> Source:
        """Where the picture comes from.

        Raises:
            InvalidRequest: There is not exactly one picture, or its Base64 is broken.
        """
        if self.image_url is not None and self.image_base64 is None:
            return parse_url(self.image_url, param="image_url")
        if self.image_base64 is not None and self.image_url is None:
            return parse_base64(self.image_base64, param="image_base64")
        raise InvalidRequest(
            "Give the picture as exactly one of image_url and image_base64.", param="image_url"
        )


class PredictUsage(Struct, frozen=True):
    """What an answer cost, in tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    image_tokens: int
    cached_tokens: int


class PredictAnswer(Struct, frozen=True):
    """What `/predict` answers.

    `timeline` has seconds by stage; `silkline` has the `max_tokens` that there could be, where that
    is fewer than were asked for.
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
    """An answer in the simple form; `max_tokens` as in a `RequestRecord`."""
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
    """The `/predict` route over an `Answering`."""
    router = APIRouter(tags=["Silkline"], route_class=DirectRoute)

    @router.post(
        "/predict",
        summary="One picture, one answer",
        response_model=None,
        openapi_extra=_body_forms(),
        responses=ERROR_RESPONSES,
    )
    async def predict(request: Request) -> Response:
        record = record_of(request)
        question = await _question(request)
        answer = await unless_client_leaves(request, answering.answer(question, record))
        served = answering.served
        body = predict_answer(
            answer,
            model=served,
            cache=record.cache,
            request_id=record.id,
            max_tokens=record.max_tokens,
        )
        headers = evidence_headers(record, served)
        return Response(msgspec.json.encode(body), headers=headers, media_type="application/json")

    return router


async def _question(request: Request) -> Question:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == _MULTIPART:
        form, source = await _from_form(request)
    else:
        form = body = await read_json(request, PredictRequest)
        source = body.source()
    parts = (ImagePart(0), TextPart(form.prompt))
    return Question(
        model=form.model,
        messages=(Message(Role.USER, parts),),
        sources=(source,),
        sampling=Sampling(max_tokens=form.max_tokens, temperature=form.temperature),
        stream=False,
        cache_use=cache_use(request.headers.get("cache-control", "")),
    )


class _FormParser(MultiPartParser):
    """Keeps an upload in memory, as the rest of its body is: a full disk refuses none."""

    spool_max_size = 0  # no limit, as in Python's SpooledTemporaryFile


async def _from_form(request: Request) -> tuple[PredictForm, Source]:
    form = await _form(request)
    try:
        image = form.get("image")
        if not isinstance(image, UploadFile):
            raise InvalidRequest("Upload the picture as the form's file `image`.", param="image")
        return _fields(form), uploaded(await image.read(), param="image")
    finally:
        await form.close()


async def _form(request: Request) -> FormData:
    async with aclosing(request.stream()) as stream:
        parser = _FormParser(request.headers, stream, max_files=1, max_fields=_MAX_FORM_FIELDS)
        try:
            return await parser.parse()
        except (MultiPartException, UnicodeError) as error:  # the latter by some character sets
            raise InvalidRequest(
                "The form could not be read. Send it whole, as its type says, in UTF-8."
            ) from error


def _fields(form: FormData) -> PredictForm:
    fields: dict[str, Any] = {name: value for name, value in form.items() if name != "image"}
    try:
        return msgspec.convert(fields, PredictForm, strict=False)
    except msgspec.ValidationError as error:
        raise unfit(error, PredictForm) from error


def _body_forms() -> dict[str, Any]:
    """The OpenAPI description of both forms of the body."""
    extra = json_body(PredictRequest)
    fields = msgspec.json.schema(PredictForm)["$defs"]["PredictForm"]["properties"]
    picture = {"type": "string", "format": "binary"}
    form = {"type": "object", "required": ["image"], "properties": {"image": picture, **fields}}
    extra["requestBody"]["content"][_MULTIPART] = {"schema": form}
    return extra
