"""The routes for programs: a description by request, and the webhook for changed products."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable
from typing import Any

import msgspec
from openai import OpenAIError
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from examples.shop.describing import Describer
from examples.shop.tables import Kept
from silkline.catalog.description import Length, Style, Tone
from silkline.catalog.vocabulary import Language
from silkline.errors import EngineFailed

MAX_AGE_SECONDS = 300
"""Older webhooks are refused, so that a recorded one cannot be sent again later."""

_MAX_BODY = 65_536
_BAD_REQUEST, _UNAUTHORIZED, _NOT_FOUND, _TOO_LARGE = 400, 401, 404, 413
_ACCEPTED, _UNAVAILABLE = 202, 503


class Wanted(msgspec.Struct, frozen=True):
    """A request for a description."""

    id: str
    language: Language = Language.ENGLISH
    tone: Tone = Tone.NEUTRAL
    length: Length = Length.MEDIUM


class Changed(msgspec.Struct, frozen=True):
    """A webhook's body: the product whose row or image is another now."""

    id: str


def signature(secret: str, sent_at: str, body: bytes) -> str:
    """The header x-shop-signature of a webhook.

    Args:
        secret: Shared with the sender.
        sent_at: Unix time in whole seconds, which the header x-shop-time has, too.
        body: The bytes of the body.
    """
    digest = hmac.new(secret.encode(), sent_at.encode() + b"." + body, hashlib.sha256)
    return f"sha256={digest.hexdigest()}"


def program_routes(
    describer: Describer, webhook_secret: str, clock: Callable[[], float] = time.time
) -> list[Route]:
    """The routes; without a secret, webhooks are refused."""

    async def described(request: Request) -> Response:
        try:
            wanted = msgspec.json.decode(await _body(request), type=Wanted)
        except msgspec.DecodeError:
            return _failed(_BAD_REQUEST, 'Send {"id": ..., "language": "en" or "zh"}.')
        style = Style(wanted.language, wanted.tone, wanted.length)
        try:
            kept = await run_in_threadpool(describer.describe, wanted.id, style)
        except (OpenAIError, EngineFailed):
            return _failed(_UNAVAILABLE, "The product cannot be described now. Ask again.")
        if kept is None:
            return _failed(_NOT_FOUND, "There is no such product.")
        return Response(msgspec.json.encode(shown(kept)), media_type="application/json")

    async def changed(request: Request) -> Response:
        body = await _body(request)
        sent_at = request.headers.get("x-shop-time", "")
        given = request.headers.get("x-shop-signature", "")
        is_recent = sent_at.isdecimal() and abs(clock() - int(sent_at)) <= MAX_AGE_SECONDS
        expected = signature(webhook_secret, sent_at, body)
        if not (webhook_secret and is_recent and hmac.compare_digest(given, expected)):
            return _failed(_UNAUTHORIZED, "The signature or the time is wrong.")
        try:
            product = msgspec.json.decode(body, type=Changed)
        except msgspec.DecodeError:
            return _failed(_BAD_REQUEST, 'Send {"id": ...}.')
        # If the process ends before that, the stamp still says that the description is stale.
        task = BackgroundTask(describer.describe_all, [product.id], lambda _done: None)
        return JSONResponse({"accepted": product.id}, _ACCEPTED, background=task)

    return [
        Route("/api/descriptions", described, methods=["POST"]),
        Route("/webhooks/products", changed, methods=["POST"]),
    ]


def shown(kept: Kept) -> dict[str, Any]:
    """A description for programs; the text only where it is published."""
    is_published = kept.state == "published"
    return {
        "product": kept.product,
        "state": kept.state,
        "description": kept.description if is_published else None,
        "findings": kept.findings,
        "model": kept.model,
        "cache": kept.cache,
    }


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_BODY:
            return b""
    return body


def _failed(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": message}, status)
