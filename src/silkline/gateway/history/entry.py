"""An entry of the request history: what is kept of every request."""

from __future__ import annotations

import time

import msgspec
from starlette.types import Scope

from silkline.core import Usage
from silkline.gateway.evidence import rounded
from silkline.ingress.identity import Identity
from silkline.routing.attempt import Attempt
from silkline.service.details import Asked
from silkline.service.record import RequestRecord

_MAX_PATH = 200
_NOTHING = Usage(0, 0)


class ImageFacts(msgspec.Struct):
    """An image of a request.

    Attributes:
        digest: Of its pixels after normalisation, or of its file; see `core.Image`.
        original_pixels: Pixels before the pixel budget.
        width: Its width after the pixel budget; 0 if unknown, as in older entries.
        height: Its height; the same.
        file_format: The format of its file, such as `jpeg`.
        brightness: Mean luma, 0 to 255; None if unknown.
        perceptual: Its perceptual digest in hex; empty if it has none.
    """

    digest: str
    original_pixels: int
    width: int = 0
    height: int = 0
    file_format: str = ""
    brightness: int | None = None
    perceptual: str = ""


class Entry(msgspec.Struct, kw_only=True):
    """A request that has ended; without messages, images and answers.

    Attributes:
        id: Its id; clients may send the same one twice.
        answer: The id of its answer; empty if it has none.
        at: Unix time at which its headers had arrived.
        method: Its HTTP method.
        path: Its path, at most 200 characters.
        status: The HTTP status of its response; 499 if its client left before.
        seconds: Seconds until its response had ended.
        tenant: Its tenant; empty if its key was refused.
        model: The model that answered, `name@revision`; empty if none was chosen.
        cache: What the cache did: hit, miss, coalesced, near or bypass.
        error: The code of the error that ended it; empty if none did.
        reason: The message of that error.
        timeline: Seconds by stage.
        first_token_seconds: Seconds to the first chunk of a streamed answer.
        asked: Its sizes; None if its body was not understood.
        images: Its images; empty if they were not loaded.
        pixel_budgets: Maximum pixels of each image as the model got it.
        attempts: The calls to replicas; empty if no engine worked for it.
        usage: Tokens of its answers.
        finish: Why each answer ended.
        received_bytes: Bytes of its body as received.
        sent_bytes: Bytes of the body of its response.
        ignored: Paths of fields that were ignored.
        keyed: Whether it had an idempotency key.
    """

    id: str
    answer: str
    at: float
    method: str
    path: str
    status: int
    seconds: float
    tenant: str
    model: str
    cache: str
    error: str
    reason: str
    timeline: dict[str, float]
    first_token_seconds: float | None
    asked: Asked | None
    images: list[ImageFacts]
    pixel_budgets: tuple[int, ...]
    attempts: list[Attempt]
    usage: Usage
    finish: list[str]
    received_bytes: int
    sent_bytes: int
    ignored: tuple[str, ...]
    keyed: bool


def entry_of(
    scope: Scope,
    record: RequestRecord,
    *,
    status: int,
    seconds: float,
    received_bytes: int,
    sent_bytes: int,
) -> Entry:
    """Returns the entry of a request that ends now."""
    details = record.details
    return Entry(
        id=record.id,
        answer=details.answer,
        at=time.time() - seconds,
        method=scope["method"],
        path=scope["path"][:_MAX_PATH],
        status=status,
        seconds=seconds,
        tenant=record.tenant.name,
        model=record.served,
        cache=record.cache,
        error=record.error or "",
        reason=record.reason,
        timeline=rounded(record.timeline),
        first_token_seconds=details.first_token,
        asked=details.asked,
        images=list(map(_facts, details.images)),
        pixel_budgets=record.pixel_budgets,
        attempts=details.attempts,
        usage=details.usage or _NOTHING,
        finish=list(details.finish),
        received_bytes=received_bytes,
        sent_bytes=sent_bytes,
        ignored=record.ignored,
        keyed=bool(record.idempotency_key),
    )


def _facts(image: Identity) -> ImageFacts:
    return ImageFacts(
        image.digest,
        image.original_pixels,
        image.width,
        image.height,
        image.file_format,
        image.brightness,
        "" if image.perceptual is None else f"{image.perceptual:016x}",
    )
