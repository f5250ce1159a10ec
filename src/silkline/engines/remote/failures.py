"""What a remote server's refusals and failures are in Silkline's own terms.

A server's words never reach a client: they may name its files, its addresses or its code. What is
said is said here, by its status and, where it is a Silkline, by its error code.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

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
"""A server's `Retry-After` is believed up to this."""

_KINDS = {
    "overloaded": "busy",
    "rate_limited": "busy",
    "duplicate_in_progress": "busy",
    "shutting_down": "lost",
    "worker_lost": "lost",
    "engine_failed": "lost",
    "deadline_exceeded": "late",
    "quarantined": "poisonous",
    "request_too_large": "large",
    "image_too_large": "large",
    "context_length_exceeded": "invalid",
}
"""What the codes of Silkline, and one of OpenAI's, mean; other codes leave it to the status."""

_BUSY = "The model's server has more to do than it can; try again later."
_POISONOUS = (
    "This request ended two workers of the engine and is not tried again; change its images or its "
    "text."
)
_LARGE = (
    "The request is larger than the model's server takes. Send fewer or smaller images, or less "
    "text."
)
_TOO_LONG = (
    "The prompt is too long for the model's server. Send less text, or fewer or smaller images."
)
_INVALID = (
    "The model's server refuses the request: the prompt may be too long with its images, or a "
    "value is out of the model's range."
)

_TOO_LONG_CODE = "context_length_exceeded"
_NO_STATUS = 0
_INVALID_STATUS = frozenset({400, 415, 422})
_LARGE_STATUS = 413
_BUSY_STATUS = frozenset({429, 503})
_DENIED = frozenset({401, 403, 404, 405, 407})
_REDIRECTS = range(300, 400)
_OWN_PARAMS = frozenset({"messages", "max_tokens", "temperature", "top_p", "seed", "stop"})
_ADDED = frozenset({"stream", "stream_options", "max_completion_tokens"})
"""Fields that no client sends: a refusal of them is not the client's affair."""

_FIELD = re.compile(rb"(?<![a-z_])(?:%b)(?![a-z_])" % "|".join(
    sorted(_ADDED | _OWN_PARAMS - {"messages"}, key=len, reverse=True)
).encode())  # fmt: skip
_NOT_TAKEN = re.compile(
    rb"unsupported|unrecogni[sz]ed|unknown|unexpected|extra|cannot both|n[o']t (?:be )?"
    rb"(?:supported?|permitted|allowed|recogni[sz]ed|implemented)"
)
_TAKEN_FIELDS = re.compile(rb"expected one|valid fields|known fields|supported fields")
"""Where a refusal goes on to list the fields that are taken."""


class UnknownField(WorkerLost):
    """A server refused a field that Silkline adds; no client can change that."""


def lost(what: str) -> WorkerLost:
    """A call that did not come to its end, for no fault of the request."""
    return WorkerLost(f"The model's server {what}; try again.")


def too_late() -> DeadlineExceeded:
    """The request's time is over."""
    return DeadlineExceeded(
        "The time for this request was over before its answer was whole; ask for fewer tokens or "
        "try again when there is less to do."
    )


def is_denial(status: int) -> bool:
    """Whether a status says that the server is not set up for us: key, path or model is wrong."""
    return status in _DENIED or status in _REDIRECTS


def refusal(status: int, headers: Mapping[str, str], body: bytes) -> SilklineError:
    """The error for a response that is no answer; `body` may be cut, or no JSON at all."""
    code, param = _told(body)
    kind = _KINDS.get(code) if isinstance(code, str) else None
    match kind or _kind(status):
        case "busy":
            return Overloaded(_BUSY, retry_after=_retry_after(headers.get("Retry-After", "")))
        case "late":
            return too_late()
        case "poisonous":
            return Quarantined(_POISONOUS)
        case "large":
            return RequestTooLarge(_LARGE, param="messages")
        case "invalid":
            return _invalid(code, param or next(iter(refused_fields(body)), None))
        case _:
            denied = is_denial(status)
            return lost("is not set up for this gateway" if denied else "failed")


def _invalid(code: object, param: str | None) -> SilklineError:
    """The error for a request that the server finds wrong, or in which it finds a field wrong."""
    if code == _TOO_LONG_CODE:
        return InvalidRequest(_TOO_LONG, param="messages")
    if param in _ADDED:
        return UnknownField("The model's server refuses a field that this gateway adds; try again.")
    if param is None or param == "messages":
        return InvalidRequest(_INVALID, param=param)
    return InvalidRequest(
        f"The model's server refuses '{param}' as it was sent. Change it, or leave it out.",
        param=param,
    )


def is_about_fields(error: SilklineError) -> bool:
    """Whether a server may have refused a request for a field that no client asked for."""
    if isinstance(error, InvalidRequest):
        return error.param != "messages"
    return isinstance(error, UnknownField)


def refused_fields(body: bytes) -> list[str]:
    """The fields of a request that a refusal names as not known or not supported, in its order.

    Servers tell it in many forms, often in words only: the fields count that are named where the
    words are those of such a refusal.
    """
    said = _TAKEN_FIELDS.split(body.lower(), maxsplit=1)[0]
    if _NOT_TAKEN.search(said) is None:
        return []
    return [field[0].decode() for field in _FIELD.finditer(said)]


def _kind(status: int) -> str:
    """What a status means that comes without a code of ours."""
    if status in _BUSY_STATUS:
        return "busy"
    if status == _LARGE_STATUS:
        return "large"
    return "invalid" if status in _INVALID_STATUS else "lost"


def failure_in_body(body: bytes) -> SilklineError:
    """The error that is told where an answer should be: in a stream, or with status 200."""
    code, _ = _told(body)
    return refusal(code if isinstance(code, int) else _NO_STATUS, {}, body)


def _told(body: bytes) -> tuple[object, str | None]:
    """The code and the parameter in an error body, in the forms in which servers write them."""
    try:
        content: Any = msgspec.json.decode(body)
    except UNDECODABLE:
        return None, None
    error = content.get("error", content) if isinstance(content, dict) else None
    if not isinstance(error, dict):
        return None, None
    param: object = error.get("param") or _located(error.get("detail"))
    if not isinstance(param, str) or param not in _OWN_PARAMS | _ADDED:
        param = None
    return error.get("code"), param


def _located(detail: object) -> object:
    """The field that FastAPI finds wrong: `[{"loc": ["body", "seed", ...], ...}, ...]`."""
    first = detail[0] if isinstance(detail, list) and detail else None
    location = first.get("loc") if isinstance(first, dict) else None
    return location[1] if isinstance(location, list) and len(location) > 1 else None


def _retry_after(text: str) -> int:
    """Whole seconds from a `Retry-After`, which has seconds or a date.

    https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3
    """
    try:
        seconds = float(text) if text[:1].isdigit() else _until(text)
    except (TypeError, ValueError, OverflowError):
        return 1
    return min(LONGEST_RETRY_SECONDS, max(1, math.ceil(min(seconds, LONGEST_RETRY_SECONDS))))


def _until(date: str) -> float:
    return parsedate_to_datetime(date).timestamp() - time.time()
