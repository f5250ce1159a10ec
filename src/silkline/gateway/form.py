"""Parses a multipart form with one file and a few fields; each fault has its own error message.

python-multipart finds the parts. starlette's parser on top of it is not used: it accepts truncated
forms, misses a file whose name comes as `filename*`, and raises one exception for every fault.
https://www.rfc-editor.org/rfc/rfc7578
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from contextlib import aclosing
from dataclasses import dataclass, field
from email.message import Message
from email.utils import collapse_rfc2231_value

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import (
    DEFAULT_MAX_HEADER_COUNT,
    MAX_BOUNDARY_LENGTH,
    MultipartParser,
)
from starlette.requests import Request

from silkline.errors import InvalidRequest, RequestTooLarge

MAX_FIELDS = 8
MAX_FIELD_BYTES = 1024 * 1024

_MAX_NAME_CHARS = 100
_UTF_8 = "UTF-8"
_IDENTITY_ENCODINGS = {"", "7bit", "8bit", "binary"}


@dataclass(slots=True)
class Form:
    """A parsed form. An empty part counts as absent: HTML forms send them for empty inputs.

    Attributes:
        file: The bytes of the file; None without one, and empty if they were written elsewhere.
        fields: The text of the fields, by name.
        file_name: The name that the client gives the file; empty if it gives none.
    """

    file: bytes | None = None
    fields: dict[str, str] = field(default_factory=dict)
    file_name: str = ""


async def read_form(request: Request, file: str, fields: Collection[str]) -> Form:
    """Reads the body as a multipart form.

    Args:
        request: Its Content-Type is `multipart/form-data`.
        file: The required name of the form's file.
        fields: The names of the known fields, for error messages; others are read as well.

    Raises:
        InvalidRequest: The form is malformed, truncated, or has more than one file.
        RequestTooLarge: A field has more than `MAX_FIELD_BYTES` bytes.
    """
    reader = _Reader(request.headers.get("content-type", ""), file, fields)
    async with aclosing(request.stream()) as stream:
        async for chunk in stream:
            reader.write(chunk)
    return reader.finish()


async def read_upload(
    request: Request,
    file: str,
    fields: Collection[str],
    write: Callable[[bytes], Awaitable[None]],
) -> Form:
    """Reads a form whose file may be large: passes its bytes on as they arrive.

    Args:
        request: As in `read_form`, which also says what is raised.
        file: As there.
        fields: As there.
        write: Takes the next bytes of the file.
    """
    content_type = request.headers.get("content-type", "")
    reader = _Reader(content_type, file, fields, passes_on=True)
    async with aclosing(request.stream()) as stream:
        async for chunk in stream:
            reader.write(chunk)
            if passed := reader.passed():
                await write(passed)
    return reader.finish()


class _Headers:
    """The headers of a part, or the Content-Type of the form."""

    def __init__(self) -> None:
        self._message = Message()

    def add(self, name: str, value: str) -> None:
        self._message[name] = value

    def value(self, name: str) -> str:
        """A header without its parameters, in lower case; empty if it is absent."""
        return str(self._message.get(name, "")).partition(";")[0].strip().lower()

    def parameter(self, name: str, header: str) -> str | None:
        """A parameter of a header, in the form `name` or `name*`."""
        value = self._message.get_param(name, header=header)
        return None if value is None else collapse_rfc2231_value(value)


class _Reader:
    def __init__(
        self, content_type: str, file: str, fields: Collection[str], *, passes_on: bool = False
    ) -> None:
        self._file_name = file
        self._passes_on = passes_on
        self._passed = bytearray()
        self._known = ", ".join(fields)
        kind = _Headers()
        kind.add("content-type", content_type)
        self._charset = kind.parameter("charset", "content-type") or _UTF_8
        boundary = kind.parameter("boundary", "content-type") or ""
        self._boundary = boundary.encode("latin-1", "replace")
        self._parser = self._create_parser()
        self._form = Form()
        self._complete = False
        self._parts = 0
        self._fields = 0
        self._in_headers = False
        self._header_name = b""
        self._header_value = b""
        self._headers = _Headers()
        self._name = ""
        self._is_file = False
        self._data = bytearray()

    def write(self, chunk: bytes) -> None:
        """Parses the next bytes of the body. Raises as `read_form` does."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise InvalidRequest(self._syntax_message()) from error

    def passed(self) -> bytes:
        """The bytes of the file that came since the last call."""
        passed, self._passed = bytes(self._passed), bytearray()
        return passed

    def finish(self) -> Form:
        """Returns the form after the last bytes. Raises as `read_form` does."""
        if not self._complete:
            raise InvalidRequest(
                "The form is truncated: its closing boundary is missing. Send the complete form."
            )
        return self._form

    def _create_parser(self) -> MultipartParser:
        if not self._boundary:
            raise InvalidRequest(
                "The form's Content-Type has no boundary. Let the HTTP client set that header, or "
                "send multipart/form-data; boundary=...."
            )
        if len(self._boundary) > MAX_BOUNDARY_LENGTH:
            raise InvalidRequest(
                f"The form's boundary has {len(self._boundary)} bytes. Send one of 1 to 70 bytes."
            )
        return MultipartParser(
            self._boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_part_end": self._on_part_end,
                "on_end": self._on_end,
            },
        )

    def _syntax_message(self) -> str:
        """The message for a form that python-multipart cannot parse, by where it failed."""
        if self._in_headers:
            return (
                f"The headers of part {self._parts} of the form are malformed. Send at most "
                f"{DEFAULT_MAX_HEADER_COUNT} lines of `Name: value`, each at most 4 KiB and ended "
                "by CRLF, then an empty line."
            )
        if self._parts == 0:
            return (
                "The form does not start with its boundary. Start it with --, the boundary from "
                "its Content-Type, and CRLF."
            )
        return (
            f"The boundary after part {self._parts} of the form is malformed. End its line with "
            "CRLF, or with -- and CRLF after the last part."
        )

    def _on_part_begin(self) -> None:
        self._parts += 1
        self._in_headers = True
        self._headers = _Headers()
        self._data = bytearray()

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        name, value = self._header_name.decode("ascii"), self._header_value.decode(errors="replace")
        self._headers.add(name, value)
        self._header_name = self._header_value = b""

    def _on_headers_finished(self) -> None:
        self._in_headers = False
        disposition = "content-disposition"
        self._name = (self._headers.parameter("name", disposition) or "")[:_MAX_NAME_CHARS]
        if not self._name:
            raise InvalidRequest(
                f"Part {self._parts} of the form has no name. Send a header like "
                'Content-Disposition: form-data; name="image"; filename="a.png".'
            )
        encoding = self._headers.value("content-transfer-encoding")
        if encoding not in _IDENTITY_ENCODINGS:
            raise InvalidRequest(
                f"Part {self._parts} of the form has the Content-Transfer-Encoding "
                f"{encoding[:_MAX_NAME_CHARS]}, which is not supported. Send the part in binary."
            )
        kind = self._headers.value("content-type")
        self._is_file = (
            self._headers.parameter("filename", disposition) is not None
            or kind.startswith("image/")
            or (self._name == self._file_name and kind == "application/octet-stream")
        )
        self._fields += not self._is_file
        if self._fields > MAX_FIELDS:
            raise InvalidRequest(
                f"The form has more than {MAX_FIELDS} fields. Send only {self._known}."
            )

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if not self._data:
            self._check_part()
        if self._is_file and self._passes_on:
            self._passed += memoryview(data)[start:end]
            self._data = bytearray(data[end - 1 : end])  # says that the part is not empty
            return
        self._data += memoryview(data)[start:end]
        if not self._is_file and len(self._data) > MAX_FIELD_BYTES:
            raise RequestTooLarge(
                f"The form's field `{self._name}` is longer than {MAX_FIELD_BYTES} bytes. Send a "
                "shorter value.",
                param=self._name,
            )

    def _check_part(self) -> None:
        """Refuses a part that is not empty and does not belong in the form."""
        name, expected = self._name, self._file_name
        if self._is_file and self._form.file is not None:
            message = f"The form has a second file, `{name}`. Send one file, named `{expected}`."
        elif self._is_file and name != expected:
            message = f"The form's file is named `{name}`. Name it `{expected}`."
        elif not self._is_file and name == expected:
            message = (
                f"The form's part `{name}` is not a file. Add a filename to its "
                "Content-Disposition, or an image type as its Content-Type."
            )
        elif name in self._form.fields:
            message = f"The form has the field `{name}` twice. Send it once."
        else:
            return
        raise InvalidRequest(message, param=name)

    def _on_part_end(self) -> None:
        if not self._data:
            return
        # A boundary without a line end would hide the parts that follow it.
        if b"\r\n--" + self._boundary in self._data:
            raise InvalidRequest(self._syntax_message())
        if self._is_file:
            self._form.file = b"" if self._passes_on else bytes(self._data)
            name = self._headers.parameter("filename", "content-disposition")
            self._form.file_name = name or ""
        else:
            self._form.fields[self._name] = self._text()

    def _text(self) -> str:
        charset = self._headers.parameter("charset", "content-type") or self._charset
        try:
            return self._data.decode(charset)
        except (LookupError, ValueError) as error:  # unknown charset, or invalid bytes
            raise InvalidRequest(
                f"The form's field `{self._name}` cannot be decoded as "
                f"{charset[:_MAX_NAME_CHARS]}. Send it in UTF-8.",
                param=self._name,
            ) from error

    def _on_end(self) -> None:
        self._complete = True
