"""The input file of a batch: one request on each line, checked before any is answered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from silkline.batch.batch import Problem
from silkline.batch.item import Work
from silkline.errors import UNDECODABLE, InvalidRequest

MAX_PROBLEMS = 100
"""Maximum problems of a file that are reported."""

_MAX_ID = 512
_BOM = b"\xef\xbb\xbf"


class _Request(msgspec.Struct):
    """A line, as far as it is checked before its request is answered."""

    custom_id: str | None = None
    method: str | None = None
    url: str | None = None
    body: msgspec.Raw = msgspec.Raw()


class _Head(msgspec.Struct):
    """What is read of a request's body."""

    model: Any = None
    stream: Any = None


@dataclass(frozen=True, slots=True)
class LineContent:
    """The request of a line.

    Attributes:
        body: The JSON that its route reads.
        model: The model that it names; None if it names none.
    """

    body: bytes
    model: str | None


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a checked file; implements `item.Entry`."""

    id: str
    number: int
    request: bytes

    def read(self) -> Work[LineContent]:
        """The request of the line. Each line is answered for itself, also if it is repeated."""
        model = msgspec.json.decode(self.request, type=_Head).model
        content = LineContent(self.request, model if isinstance(model, str) else None)
        return Work(b"line %d" % self.number, content, len(self.request))


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a file.

    Attributes:
        lines: Maximum requests.
        line_bytes: Maximum bytes of a line.
    """

    lines: int
    line_bytes: int


def check(path: Path, endpoint: str, limits: Limits) -> tuple[int, list[Problem]]:
    """Reads a file; returns the number of its requests and what is wrong, in order.

    Raises:
        OSError: It cannot be read.
    """
    problems: list[Problem] = []
    seen: dict[str, int] = {}
    count = 0
    with path.open("rb") as file:
        for number, line in _numbered(file, limits.line_bytes):
            count += 1
            problem = _problem(line, number, endpoint, limits, seen)
            if problem is not None:
                problems.append(problem)
            if count > limits.lines:
                message = f"The file has more than {limits.lines} requests. Split it."
                problems.append(Problem(code="too_many_requests", message=message))
                break
            if len(problems) >= MAX_PROBLEMS:
                break
    if not count:
        problems.append(
            Problem(code="empty_file", message="The file has no requests. Send one on each line.")
        )
    return count, problems


def read(path: Path, line_bytes: int) -> Iterator[Line]:
    """The lines of a file that was checked."""
    with path.open("rb") as file:
        for index, (_, line) in enumerate(_numbered(file, line_bytes)):
            found = msgspec.json.decode(line, type=_Request)
            yield Line(found.custom_id or "", index, bytes(found.body))


def _numbered(file: BinaryIO, line_bytes: int) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, with their numbers from 1; a longer one is cut."""
    number, first = 0, True
    while line := file.readline(line_bytes + 1):
        number += 1
        whole = line
        while len(whole) > line_bytes and not whole.endswith(b"\n"):
            whole = file.readline(line_bytes + 1)
            if not whole:
                break
        line = line.removeprefix(_BOM) if first else line
        first = False
        if line.strip():
            yield number, line


def _problem(
    line: bytes, number: int, endpoint: str, limits: Limits, seen: dict[str, int]
) -> Problem | None:
    """What is wrong with a line; None if nothing is. Adds its id to those that were seen."""
    try:
        request = _parsed(line, limits.line_bytes)
        _check_id(request, number, seen)
        _check_route(request, endpoint)
        _check_body(request)
    except _Wrong as wrong:
        return Problem(code=wrong.code, message=wrong.message, line=number, param=wrong.param)
    return None


class _Wrong(InvalidRequest):
    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message, param=param)
        self.code = code


def _parsed(line: bytes, line_bytes: int) -> _Request:
    if len(line) > line_bytes:
        raise _Wrong("line_too_long", f"The line is longer than {line_bytes} bytes. Send less.")
    try:
        return msgspec.json.decode(line, type=_Request)
    except msgspec.ValidationError as error:
        raise _Wrong(
            "invalid_json_line",
            "The line is no request. Send custom_id, method and url as text, and body.",
        ) from error
    except UNDECODABLE as error:
        raise _Wrong(
            "invalid_json_line", "The line is not valid JSON. Send one JSON object on each line."
        ) from error


def _check_id(request: _Request, number: int, seen: dict[str, int]) -> None:
    name = request.custom_id
    if not name:
        raise _Wrong(
            "missing_custom_id", "The line has no custom_id. Give each its own.", "custom_id"
        )
    if len(name) > _MAX_ID:
        raise _Wrong(
            "invalid_custom_id", f"The custom_id has more than {_MAX_ID} characters.", "custom_id"
        )
    first = seen.setdefault(name, number)
    if first != number:
        raise _Wrong(
            "duplicate_custom_id",
            f"The custom_id is that of line {first}. Give each line its own.",
            "custom_id",
        )


def _check_route(request: _Request, endpoint: str) -> None:
    if request.method != "POST":
        raise _Wrong("invalid_method", "The method must be POST.", "method")
    if request.url != endpoint:
        raise _Wrong(
            "invalid_url", f"The url must be {endpoint}, the endpoint of the batch.", "url"
        )


def _check_body(request: _Request) -> None:
    try:
        head = msgspec.json.decode(request.body, type=_Head)
    except UNDECODABLE as error:
        raise _Wrong("missing_body", "The body must be a JSON object.", "body") from error
    if head.stream:
        raise _Wrong(
            "stream_not_supported",
            "A batch does not stream. Leave stream out of the body.",
            "body.stream",
        )
