"""Reads a JSON body into its declared type; the first thing that is wrong ends it."""

from __future__ import annotations

import codecs
import json
import re
from typing import TypeVar

import msgspec
from starlette.requests import Request

from silkline.errors import UNDECODABLE, InvalidRequest, RequestTooLarge
from silkline.gateway.fields import convert
from silkline.gateway.request_record import record_of

T = TypeVar("T", bound=msgspec.Struct)

_JSON = "application/json"
_MAX_WORDS = 300
_MAX_COMMAS = 400_000
"""Of a JSON body: more than texts and messages within the limits can have."""

_PLACE = re.compile(r"^(?P<what>.*?)(?: - at `\$(?P<path>.*)`)?$", re.DOTALL)
_UNKNOWN_VALUE = re.compile(r"^Invalid (?:enum )?value .*$", re.DOTALL)
_POSITION = re.compile(r"\(byte (\d+)\)")
_NUMBER = re.compile(r"\.(\d+|\.\.\.)")
_UNKNOWN_FIELD = re.compile(r"^Object contains unknown field `(?P<name>.*)`$", re.DOTALL)


def media_type(request: Request) -> str:
    """The media type that the request's Content-Type names, in lower case; empty without one."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_json(request: Request, kind: type[T], *, instead: str = "") -> T:
    """The body as a `kind`; the request's record gets the paths of the unknown fields.

    Args:
        request: The request.
        kind: What the JSON must be.
        instead: What the route takes besides JSON, for the error about another media type.

    Raises:
        InvalidRequest: It is not JSON, or not of this type, or has a field that is not supported;
            `param` is the field at fault.
    """
    given = media_type(request)
    if given != _JSON:
        came = f"is {given[:_MAX_WORDS]} by its" if given else "has no"
        taken = f"{_JSON}, or {instead}" if instead else _JSON
        raise InvalidRequest(f"The body {came} Content-Type. Send {taken}.")
    value, record_of(request).ignored = decode(await request.body(), kind)
    return value


def decode(body: bytes, kind: type[T]) -> tuple[T, tuple[str, ...]]:
    """Like `read_json`, for bytes; with the paths of the unknown fields.

    A byte order mark of UTF-8 is left out.

    Raises:
        RequestTooLarge: The body has more values than a request can need.
        InvalidRequest: As `read_json`.
    """
    if body.count(b",") > _MAX_COMMAS:  # before the values are made, each of which takes memory
        raise RequestTooLarge(
            f"The body has more than {_MAX_COMMAS} values. Send fewer, and less text."
        )
    text = body.removeprefix(codecs.BOM_UTF8)
    try:
        return convert(msgspec.json.decode(text), kind)
    except msgspec.ValidationError as error:
        raise unfit(error, kind) from error
    except UNDECODABLE as error:
        raise InvalidRequest(_no_json(text, error)) from error


def _no_json(text: bytes, error: Exception) -> str:
    """What is wrong with a body that is not JSON. Of msgspec's words only the position is told."""
    encoding = json.detect_encoding(text)
    found = _POSITION.search(str(error))
    if not text:
        return "The body is empty. Send one JSON object."
    if not encoding.startswith("utf-8"):
        return f"The body is in {encoding.upper()}. Send JSON in UTF-8."
    if isinstance(error, UnicodeError):
        return "The body is not in UTF-8. Send JSON in UTF-8."
    if isinstance(error, RecursionError):
        return "The body is nested too deeply. Send one JSON object with the documented fields."
    if found is None:
        return "The body is not valid JSON: it, or a text in it, is cut. Send one JSON object."
    return f"The body is not valid JSON, at byte {found[1]}. Send one JSON object."


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
