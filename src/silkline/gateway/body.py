"""Parses a JSON body into its declared type and raises at the first error."""

from __future__ import annotations

import codecs
import json
import re
from typing import TypeVar

import msgspec
from starlette.requests import Request

from silkline.errors import UNDECODABLE, InvalidRequest, RequestTooLarge
from silkline.gateway.fields import convert
from silkline.gateway.request_body import read_whole
from silkline.gateway.request_record import record_of
from silkline.service.other_fields import OtherField

T = TypeVar("T", bound=msgspec.Struct)

_JSON = "application/json"
_MAX_QUOTED_CHARS = 300
_MAX_COMMAS = 2_000_000
"""Maximum number of commas in a JSON body: more than any request within the limits has."""

_PATH = re.compile(r"^(?P<what>.*?)(?: - at `\$(?P<path>.*)`)?$", re.DOTALL)
_UNKNOWN_VALUE = re.compile(r"^Invalid (?:enum )?value .*$", re.DOTALL)
_POSITION = re.compile(r"\(byte (\d+)\)")
_HALF_AT_END = re.compile(rb"(?<!\\)(?:\\\\)*\\u[dD][89abAB][0-9a-fA-F]{2}.{0,5}\Z", re.DOTALL)
"""Half of a surrogate pair near the end of a body, which msgspec reports as truncated."""

_NUMBER = re.compile(r"\.(\d+|\.\.\.)")
_UNKNOWN_FIELD = re.compile(r"^Object contains unknown field `(?P<name>.*)`$", re.DOTALL)


def media_type(request: Request) -> str:
    """The media type of the request's Content-Type in lower case; empty if it has none."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_json(request: Request, kind: type[T], *, instead: str = "") -> T:
    """Parses the body as a `kind`; saves its other fields in the request's record.

    Args:
        request: The request.
        kind: The type of the JSON object.
        instead: What the route accepts besides JSON, for the error about another media type.

    Raises:
        InvalidRequest: The body is not JSON, does not match the type, or has an unsupported field;
            `param` names the field.
    """
    received = media_type(request)
    if received != _JSON:
        problem = f"is {received[:_MAX_QUOTED_CHARS]}" if received else "is missing"
        expected = f"{_JSON}, or {instead}" if instead else _JSON
        raise InvalidRequest(f"The Content-Type {problem}. Send {expected}.")
    value, record_of(request).others = decode(await read_whole(request.receive), kind)
    return value


def decode(body: bytes, kind: type[T]) -> tuple[T, tuple[OtherField, ...]]:
    """Like `read_json`, for bytes; also returns the fields that the type lacks.

    Ignores a UTF-8 byte order mark.

    Raises:
        RequestTooLarge: The body has more values than any request needs.
        InvalidRequest: As `read_json`.
    """
    if body.count(b",") > _MAX_COMMAS:  # checked before parsing: each value takes memory
        raise RequestTooLarge(
            f"The body has more than {_MAX_COMMAS} values. Send fewer values and less text."
        )
    text = body.removeprefix(codecs.BOM_UTF8)
    try:
        return convert(msgspec.json.decode(text), kind)
    except msgspec.ValidationError as error:
        raise invalid_body(error, kind) from error
    except UNDECODABLE as error:
        raise InvalidRequest(_not_json_message(text, error)) from error


def _not_json_message(text: bytes, error: Exception) -> str:
    """The error message for a body that is not JSON.

    Of msgspec's text it has the position only. msgspec refuses each half of a surrogate pair.
    """
    encoding = json.detect_encoding(text)
    found = _POSITION.search(str(error))
    if not text:
        return "The body is empty. Send one JSON object."
    if not encoding.startswith("utf-8"):
        return f"The body is encoded in {encoding.upper()}. Send JSON in UTF-8."
    if isinstance(error, UnicodeError):
        return "The body is not valid UTF-8. Send JSON in UTF-8."
    if isinstance(error, RecursionError):
        return "The body is nested too deeply. Send one JSON object with the documented fields."
    if "surrogate" in str(error) or (found is None and _HALF_AT_END.search(text[-64:])):
        return (
            "A string holds half of a surrogate pair, which is not a character. Send valid "
            "Unicode: both halves, or the character itself."
        )
    problem = f"error at byte {found[1]}" if found else "it, or a string in it, is truncated"
    return f"The body is not valid JSON: {problem}. Send one JSON object."


def invalid_body(error: msgspec.ValidationError, kind: type[msgspec.Struct]) -> InvalidRequest:
    """Builds the error for a body that does not match `kind`, with the path of the wrong field.

    `kind.VALUES` may list the allowed values of fields that have few. `kind.INSTEAD` may name the
    field to send in place of an unsupported one that other servers have.

    msgspec's text names types and our fields. The only client data in it are the name of an unknown
    field, which is cut to a maximum length, and a value, which is left out.
    """
    found = _PATH.match(str(error))
    what = found["what"] if found else ""
    param = _param(found["path"] or "") if found else None
    unknown = _UNKNOWN_FIELD.match(what)
    if unknown:
        name = ".".join(part for part in (param, unknown["name"]) if part)[:_MAX_QUOTED_CHARS]
        instead = getattr(kind, "INSTEAD", {}).get(name)
        what = "Leave it out." if instead is None else f"Send {instead}."
        return InvalidRequest(f"The field {name} is not supported. {what}", param=name)
    subject = f"The field {param}" if param else "The body"
    if _UNKNOWN_VALUE.match(what):
        values = getattr(kind, "VALUES", {}).get(_NUMBER.sub("", param or ""))
        what = f"it must be {values}" if values else "it is not one of the allowed values"
    return InvalidRequest(f"{subject} is wrong: {what[:_MAX_QUOTED_CHARS]}.", param=param)


def _param(path: str) -> str | None:
    """Converts `.messages[0].content` to the OpenAI API's notation: `messages.0.content`."""
    return re.sub(r"\[(\d+|\.\.\.)\]", r".\1", path).strip(".") or None
