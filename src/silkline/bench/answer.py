"""Parses a response into its record: stages, token usage, stream timings, error code."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from silkline.bench.client import Response
from silkline.bench.record import OK, Record
from silkline.errors import UNDECODABLE

_DONE = b"[DONE]"
_STREAM = b"text/event-stream"
_MILLISECONDS = 1000.0


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Whole(msgspec.Struct):
    usage: _Usage | None = None


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None


class _Evidence(msgspec.Struct):
    timeline: dict[str, float] = {}


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    silkline: _Evidence | None = None


class _Error(msgspec.Struct):
    code: str | int | None = None


class _Failure(msgspec.Struct):
    error: _Error


_WHOLE = msgspec.json.Decoder(_Whole)
_CHUNK = msgspec.json.Decoder(_Chunk)
_FAILURE = msgspec.json.Decoder(_Failure)


def read_answer(response: Response, record: Record, zero: float) -> None:
    """Fills in a record from a complete response.

    Args:
        response: The response.
        record: The record to fill in; its send and end times are already set.
        zero: Monotonic time of the schedule's start, in seconds.
    """
    headers = response.headers
    record.status = response.status
    record.cache = headers.get(b"x-silkline-cache", b"").decode("latin-1")
    record.stages = parse_server_timing(headers.get(b"server-timing", b"").decode("latin-1"))
    if response.status != OK:
        record.code = _error_code(response.body) or f"http_{response.status}"
    elif headers.get(b"content-type", b"").startswith(_STREAM):
        _read_stream(response, record, zero)
    else:
        _read_whole(response.body, record)


def parse_server_timing(text: str) -> dict[str, float]:
    """Parses `name;dur=12.5, ...` into seconds by name; https://www.w3.org/TR/server-timing/.

    Skips entries without a valid duration.
    """
    seconds = {}
    for entry in text.split(",") if text else ():
        name, *parameters = (part.strip() for part in entry.split(";"))
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip().lower() == "dur" and _is_number(value.strip(' "')):
                seconds[name] = float(value.strip(' "')) / _MILLISECONDS
    return seconds


def events(chunks: list[tuple[float, bytes]]) -> Iterator[tuple[float, str, bytes]]:
    """Yields the events of a stream: time of completion, name and data.

    https://html.spec.whatwg.org/multipage/server-sent-events.html; line ends are LF or CRLF.
    """
    rest, name, data = b"", "", []
    for when, chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            field, _, value = line.rstrip(b"\r").partition(b":")
            if field == b"data":
                data.append(value.removeprefix(b" "))
            elif field == b"event":
                name = value.strip().decode("utf-8", "replace")
            elif not field and not value:
                if data:
                    yield when, name, b"\n".join(data)
                name, data = "", []


def _read_whole(body: bytes, record: Record) -> None:
    try:
        whole = _WHOLE.decode(body)
    except UNDECODABLE:
        record.code = "malformed_response"
        return
    if whole.usage is not None:
        _note_usage(whole.usage, record)


def _read_stream(response: Response, record: Record, zero: float) -> None:
    last, began, done = 0.0, False, False
    gaps: list[float] = []
    try:
        for when, name, data in events(response.chunks):
            if name == "error":
                record.code = _error_code(data) or "stream_error"
                return
            if data == _DONE:
                done = True
                continue
            chunk, began = _CHUNK.decode(data), True
            if any(choice.delta and choice.delta.content for choice in chunk.choices):
                if last:
                    gaps.append(round(when - last, 6))
                else:
                    record.first_token = round(when - zero, 6)
                last = when
            if chunk.usage is not None:
                _note_usage(chunk.usage, record)
            if chunk.silkline is not None:
                record.stages = chunk.silkline.timeline
    except UNDECODABLE:
        record.code = "malformed_response"
        return
    record.gaps = gaps
    if not (began and done):
        record.code = "malformed_response" if done else "stream_cut"


def _note_usage(usage: _Usage, record: Record) -> None:
    record.prompt_tokens = usage.prompt_tokens
    record.completion_tokens = usage.completion_tokens


def _error_code(body: bytes) -> str:
    try:
        code = _FAILURE.decode(body).error.code
    except UNDECODABLE:
        return ""
    return "" if code is None else str(code)


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdecimal()
