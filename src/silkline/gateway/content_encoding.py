"""Unpacks a body that has a Content-Encoding, a bounded slice at a time.

A body has one encoding at most: an encoding on top of another makes it no smaller, and multiplies
what a bomb costs. https://www.rfc-editor.org/rfc/rfc9110#section-8.4
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Mapping
from typing import Protocol

from silkline.errors import InvalidRequest, UnsupportedEncoding

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TAKEN = "gzip, deflate, zstd"
"""What the header Accept-Encoding of a response tells about requests."""

HEADER = "Content-Encoding"

SLICE_BYTES = 256 * 1024
"""Bytes that are unpacked at a time, at most."""

_MAX_WORDS = 100
_MAX_STREAMS = 1024
"""In a body: each costs time, also where nothing is in it."""
_ZLIB_HEAD_BYTES = 2
_ZLIB_METHOD = 8
_ZLIB_CHECK = 31
_GZIP_BITS = 31
_ZLIB_BITS = 15
_WINDOW_LOG = 23
"""8 MiB, the widest window of zstd over HTTP: https://www.rfc-editor.org/rfc/rfc9659"""


class _Stream(Protocol):
    """One compressed stream, in the terms of the standard library's zstd and lzma."""

    @property
    def eof(self) -> bool:
        """Whether it has ended."""

    @property
    def unused_data(self) -> bytes:
        """What came after its end."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """The next bytes, of what it keeps and of `data`."""


class _Zlib:
    """zlib's stream, which keeps what was too much for one slice."""

    def __init__(self, bits: int) -> None:
        self._stream = zlib.decompressobj(bits)

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._stream.decompress(self._stream.unconsumed_tail + data, max_length)


def _gzip(_: bytes) -> _Stream:
    return _Zlib(_GZIP_BITS)


def _deflate(head: bytes) -> _Stream:
    """In zlib's format, or bare as some clients send it."""
    in_zlib = (
        head[0] & 0x0F == _ZLIB_METHOD
        and int.from_bytes(head[:_ZLIB_HEAD_BYTES]) % _ZLIB_CHECK == 0
    )
    return _Zlib(_ZLIB_BITS if in_zlib else -_ZLIB_BITS)


def _zstd(_: bytes) -> _Stream:
    options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}
    return zstd.ZstdDecompressor(options=options)


_STREAMS: Mapping[str, Callable[[bytes], _Stream]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "zstd": _zstd,
}


class Unpacker:
    """Unpacks a body: `feed` it, `take` slices until there are none, and say that it has ended.

    gzip and zstd allow several streams one after another; together they are one body.
    """

    def __init__(self, encoding: str) -> None:
        """Begins a body with one of the encodings that are taken."""
        self._encoding = encoding
        self._stream: _Stream | None = None
        self._streams = 0
        self._waiting = b""

    def feed(self, data: bytes) -> None:
        """Gives it the next bytes of the body."""
        self._waiting += data

    def take(self) -> bytes:
        """The next unpacked bytes, `SLICE_BYTES` at most; empty where more must be fed first.

        Raises:
            InvalidRequest: The body is damaged, of another encoding, or goes on after its end.
        """
        while self._stream is not None or len(self._waiting) >= _ZLIB_HEAD_BYTES:
            if self._stream is None:
                self._stream = self._next_stream()
            data, self._waiting = self._waiting, b""
            try:
                unpacked = self._stream.decompress(data, SLICE_BYTES)
            except (zlib.error, zstd.ZstdError) as error:
                raise self._wrong_bytes() from error
            if self._stream.eof:
                self._waiting = self._stream.unused_data
                self._stream = None
            if unpacked:
                return unpacked
            if self._stream is not None:
                break
        return b""

    def end(self) -> None:
        """Says that the whole body was fed and taken. Raises `InvalidRequest` where it is cut."""
        if self._stream is not None or self._waiting:
            raise InvalidRequest(
                f"The {self._encoding} body ends early. Send it whole, and nothing after it.",
                param=HEADER,
            )

    def _next_stream(self) -> _Stream:
        self._streams += 1
        if self._streams > (1 if self._encoding == "deflate" else _MAX_STREAMS):
            raise self._wrong_bytes()
        return _STREAMS[self._encoding](self._waiting)

    def _wrong_bytes(self) -> InvalidRequest:
        if self._streams > 1:
            wrong = f"The {self._encoding} body goes on after its end. Send nothing after it."
        else:
            wrong = f"The body is not {self._encoding}, as its {HEADER} says, or it is damaged. "
            wrong += "Send it as it says, or plain and without that header."
        return InvalidRequest(wrong, param=HEADER)


def create_unpacker(header: str) -> Unpacker | None:
    """What unpacks a body with this Content-Encoding; None where it comes as it is.

    Raises:
        UnsupportedEncoding: It has an encoding that is not taken, or several.
    """
    names = [name.strip().lower() for name in header.split(",")]
    encodings = [name for name in names if name not in {"", "identity"}]
    if not encodings:
        return None
    if len(encodings) > 1:
        listed = ", ".join([*encodings[:2], *(["..."] if encodings[2:] else [])])
        raise UnsupportedEncoding(
            f"The body has {len(encodings)} encodings, {listed[:_MAX_WORDS]}. Send one of {TAKEN}, "
            "or none.",
            param=HEADER,
        )
    if encodings[0] not in _STREAMS:
        raise UnsupportedEncoding(
            f"The body's {HEADER} {encodings[0][:_MAX_WORDS]} is not taken. Send {TAKEN}, or none.",
            param=HEADER,
        )
    return Unpacker(encodings[0])
