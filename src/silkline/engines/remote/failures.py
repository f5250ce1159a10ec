"""Maps a remote server's refusals and failures to Silkline's errors.

A server's error text never reaches a client: it may name files, addresses or code. The messages are
written here, and chosen by the status and, if the server is a Silkline, by its error code. Of a
refused request they name the field at fault, if the server named one that was sent.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Collection, Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from silkline.engines.remote.servers import ASKED_AS
from silkline.errors import (
    UNDECODABLE,
    DeadlineExceeded,
    InvalidRequest,
    Overloaded,
    Quarantined,
    RequestTooLarge,
    SilklineError,
    WorkerLost,
)

LONGEST_RETRY_SECONDS = 300
"""Maximum of a server's `Retry-After` that is passed on."""

_KINDS = {
    "overloaded": "busy",
    "rate_limited": "busy",
    "duplicate_in_progress": "busy",
    "shutting_down": "lost",
    "worker_lost": "lost",
    "engine_failed": "lost",
    "deadline_exceeded": "late",
    "quarantined": "quarantined",
    "request_too_large": "large",
    "image_too_large": "large",
    "context_length_exceeded": "invalid",
}
"""Kinds of error by the codes of Silkline and one of OpenAI; otherwise the status decides."""

_BUSY = "The model's server is overloaded; try again later."
_QUARANTINED = (
    "This request killed two workers of the engine and is not retried; change its images or its "
    "text."
)
_LARGE = (
    "The request is too large for the model's server. Send fewer or smaller images, or less text."
)
_TOO_LONG = (
    "The prompt is too long for the model's server. Send less text, or fewer or smaller images."
)
_INVALID = (
    "The model's server refuses the request: the prompt with its images may be too long, or it "
    "may not support a field or its value. Shorten the prompt, or check the fields."
)

_TOO_LONG_CODE = "context_length_exceeded"
_NO_STATUS = 0
_INVALID_STATUS = frozenset({400, 415, 422})
_LARGE_STATUS = 413
_BUSY_STATUS = frozenset({429, 503})
_DENIED = frozenset({401, 403, 404, 405, 407})
_REDIRECTS = range(300, 400)
_ADDED = frozenset({"stream", "stream_options", "max_completion_tokens"})
"""Fields that Silkline adds: no client can correct a refusal of one."""

_OTHER_WORDS = {"tools": rb"tool[_ -](?:choice|calls?|calling|use)"}
"""Other words by which servers refuse a field."""

_FIRST_NAME = re.compile(r"[^.\[]+")
"""The field in a path such as `tools.0.function` or `messages[1]`."""

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_NOT_ACCEPTED = re.compile(
    rb"unsupported|unrecogni[sz]ed|unknown|unexpected|extra|cannot both|n[o']t (?:be )?"
    rb"(?:supported?|permitted|allowed|recogni[sz]ed|implemented)"
    rb"|not enabled|incompatible|cannot use|requires"
)
_ACCEPTED_FIELDS = re.compile(rb"expected one|valid fields|known fields|supported fields")
"""Precedes the list of accepted fields in a refusal; those are not the refused ones."""


class UnknownField(WorkerLost):
    """A server refused a field that Silkline adds; the client cannot correct that."""


def lost(what: str) -> WorkerLost:
    """The error for a request that failed through no fault of its own."""
    return WorkerLost(f"The model's server {what}; try again.")


def too_late() -> DeadlineExceeded:
    """The error for a request whose deadline has passed."""
    return DeadlineExceeded(
        "The deadline of this request passed before its answer was complete. Ask for fewer tokens, "
        "or try again when the server is less busy."
    )


def is_denial(status: int) -> bool:
    """Whether a status means that the gateway's configuration is wrong: key, path or model."""
    return status in _DENIED or status in _REDIRECTS


def refusal(
    status: int, headers: Mapping[str, str], body: bytes, sent: Collection[str] = ()
) -> SilklineError:
    """The error for a response that is not an answer.

    Args:
        status: Its HTTP status.
        headers: Its headers.
        body: Its body, which may be truncated or not JSON.
        sent: The names of the fields that were sent; others are never named.
    """
    code, param = _code_and_param(body, sent)
    kind = _KINDS.get(code) if isinstance(code, str) else None
    match kind or _kind(status):
        case "busy":
            return Overloaded(_BUSY, retry_after=_retry_after(headers.get("retry-after", "")))
        case "late":
            return too_late()
        case "quarantined":
            return Quarantined(_QUARANTINED)
        case "large":
            return RequestTooLarge(_LARGE, param="messages")
        case "invalid":
            return _invalid(code, param or next(iter(refused_fields(body, sent)), None))
        case _:
            denied = is_denial(status)
            return lost("is not configured for this gateway" if denied else "failed")


def _invalid(code: object, param: str | None) -> SilklineError:
    """The error for a request that the server calls invalid; `param` is the field, if known."""
    if code == _TOO_LONG_CODE:
        return InvalidRequest(_TOO_LONG, param="messages")
    if param in _ADDED:
        return UnknownField("The model's server refuses a field that the gateway adds; try again.")
    if param is None or param == "messages":
        return InvalidRequest(_INVALID, param=param)
    asked = ASKED_AS.get(param, param)
    return InvalidRequest(
        f"The model's server refuses the field '{asked}' or its value. Change it, or leave it out.",
        param=asked,
    )


def is_about_fields(error: SilklineError) -> bool:
    """Whether the server may have refused a field that Silkline adds."""
    if isinstance(error, InvalidRequest):
        return error.param != "messages"
    return isinstance(error, UnknownField)


def refused_fields(body: bytes, sent: Collection[str]) -> list[str]:
    """The fields that a refusal names as unknown or unsupported, in its order.

    Servers have many formats, often free text. So this looks for words of a refusal such as
    "unsupported", and then for the names of fields that were sent.
    """
    text = _ACCEPTED_FIELDS.split(body.lower(), maxsplit=1)[0]
    if _NOT_ACCEPTED.search(text) is None:
        return []
    found = sorted(match for name in sent for match in _mentions(name, text))
    return [name for _, _, name in found]


def _mentions(name: str, text: bytes) -> Iterator[tuple[int, int, str]]:
    """Where a text names a field: start, negative length and name."""
    if name in {"model", "messages"} or not _PLAIN_NAME.fullmatch(name):
        return
    words = re.escape(name.lower()).replace("_", "[_ -]").encode()
    if name in _OTHER_WORDS:
        words += b"|" + _OTHER_WORDS[name]
    for match in re.finditer(rb"(?<![a-z_])(?:%b)(?![a-z_])" % words, text):
        yield match.start(), match.start() - match.end(), name


def _kind(status: int) -> str:
    """The kind of error of a status, for responses without a code of Silkline."""
    if status in _BUSY_STATUS:
        return "busy"
    if status == _LARGE_STATUS:
        return "large"
    return "invalid" if status in _INVALID_STATUS else "lost"


def failure_in_body(body: bytes, sent: Collection[str] = ()) -> SilklineError:
    """The error in a body that should be an answer: in a stream, or with status 200.

    Args:
        body: The body.
        sent: The names of the fields that were sent; others are never named.
    """
    code, _ = _code_and_param(body, sent)
    return refusal(code if isinstance(code, int) else _NO_STATUS, {}, body, sent)


def _code_and_param(body: bytes, sent: Collection[str]) -> tuple[object, str | None]:
    """The code and the field in an error body, in any of the formats of known servers.

    A field is `messages`, or one of those that were sent.
    """
    try:
        content: Any = msgspec.json.decode(body)
    except UNDECODABLE:
        return None, None
    error = content.get("error", content) if isinstance(content, dict) else None
    if not isinstance(error, dict):
        return None, None
    param: object = error.get("param") or _fastapi_field(error.get("detail"))
    name = _FIRST_NAME.match(param) if isinstance(param, str) else None
    known = name is not None and (name[0] == "messages" or name[0] in sent)
    return error.get("code"), name[0] if name is not None and known else None


def _fastapi_field(detail: object) -> object:
    """The invalid field in an error of FastAPI: `[{"loc": ["body", "seed", ...], ...}, ...]`."""
    first = detail[0] if isinstance(detail, list) and detail else None
    location = first.get("loc") if isinstance(first, dict) else None
    return location[1] if isinstance(location, list) and len(location) > 1 else None


def _retry_after(text: str) -> int:
    """Whole seconds from a `Retry-After`, which holds seconds or a date.

    https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3
    """
    try:
        seconds = float(text) if text[:1].isdigit() else _until(text)
    except (TypeError, ValueError, OverflowError):
        return 1
    return min(LONGEST_RETRY_SECONDS, max(1, math.ceil(min(seconds, LONGEST_RETRY_SECONDS))))


def _until(date: str) -> float:
    return parsedate_to_datetime(date).timestamp() - time.time()
