"""Reads a JSON body into its declared type; the first thing that is wrong ends it."""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec
from starlette.requests import Request

from silkline.errors import UNDECODABLE, InvalidRequest
from silkline.gateway.fields import convert
from silkline.gateway.request_record import record_of

T = TypeVar("T", bound=msgspec.Struct)

_JSON = "application/json"
_MAX_WORDS = 300
_PLACE = re.compile(r"^(?P<what>.*?)(?: - at `\$(?P<path>.*)`)?$", re.DOTALL)
_UNKNOWN_VALUE = re.compile(r"^Invalid (?:enum )?value .*$", re.DOTALL)
_NUMBER = re.compile(r"\.(\d+|\.\.\.)")
_UNKNOWN_FIELD = re.compile(r"^Object contains unknown field `(?P<name>.*)`$", re.DOTALL)


async def read_json(request: Request, kind: type[T]) -> T:
    """The body as a `kind`; the request's record gets the paths of the unknown fields.

    Raises:
        InvalidRequest: It is not JSON, or not of this type, or has a field that is not supported;
            `param` is the field at fault.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != _JSON:
        raise InvalidRequest(f"The body is not JSON by its type. Send Content-Type: {_JSON}.")
    value, record_of(request).ignored = decode(await request.body(), kind)
    return value


def decode(body: bytes, kind: type[T]) -> tuple[T, tuple[str, ...]]:
    """Like `read_json`, for bytes; with the paths of the unknown fields."""
    try:
        return convert(msgspec.json.decode(body), kind)
    except msgspec.ValidationError as error:
        raise unfit(error, kind) from error
    except UNDECODABLE as error:
        raise InvalidRequest("The body is not valid JSON. Send one JSON object.") from error


def unfit(error: msgspec.ValidationError, kind: type[msgspec.Struct]) -> InvalidRequest:
    """What is wrong with a body, by the client's name for the place.

    A kind may say in `VALUES` which few values of a field are taken, and in `INSTEAD` what is to be
    sent in the place of an unknown field that clients take for known.

    msgspec's words name types and our fields; what a client can put in is its own field's name,
    which is cut, and a value, which is left out.
    """
    found = _PLACE.match(str(error))
    what = found["what"] if found else ""
    param = _param(found["path"] or "") if found else None
    unknown = _UNKNOWN_FIELD.match(what)
    if unknown:
        name = ".".join(part for part in (param, unknown["name"]) if part)[:_MAX_WORDS]
        instead = getattr(kind, "INSTEAD", {}).get(name)
        what = "Leave it out." if instead is None else f"Send {instead}."
        return InvalidRequest(f"The field {name} is not supported. {what}", param=name)
    subject = f"The field {param}" if param else "The body"
    if _UNKNOWN_VALUE.match(what):
        values = getattr(kind, "VALUES", {}).get(_NUMBER.sub("", param or ""))
        what = f"it must be {values}" if values else "it has none of the values that are known here"
    return InvalidRequest(f"{subject} is wrong: {what[:_MAX_WORDS]}.", param=param)


def _param(path: str) -> str | None:
    """`.messages[0].content` in the terms of the OpenAI API: `messages.0.content`."""
    return re.sub(r"\[(\d+|\.\.\.)\]", r".\1", path).strip(".") or None
