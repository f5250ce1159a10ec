"""Decompresses a body that has a Content-Encoding, one bounded slice at a time.

At most one encoding is accepted: a second one makes the body no smaller and multiplies the cost of
a decompression bomb. https://www.rfc-editor.org/rfc/rfc9110#section-8.4
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

ACCEPTED_ENCODINGS = "gzip, deflate, zstd"
"""Value of the response header Accept-Encoding: the encodings accepted in requests."""

HEADER = "Content-Encoding"

SLICE_BYTES = 256 * 1024
"""Maximum number of bytes decompressed at a time."""

_MAX_QUOTED_CHARS = 100
_MAX_STREAMS = 1024
"""Maximum number of streams in a body: each costs time, even an empty one."""
_ZLIB_HEAD_BYTES = 2
_ZLIB_METHOD = 8
_ZLIB_CHECK = 31
_GZIP_BITS = 31
_ZLIB_BITS = 15
_WINDOW_LOG = 23
"""8 MiB, the maximum window of zstd over HTTP: https://www.rfc-editor.org/rfc/rfc9659"""


class _Stream(Protocol):
    """One compressed stream, with the interface of the standard library's zstd and lzma."""

    @property
    def eof(self) -> bool:
        """Whether the stream has ended."""

    @property
    def unused_data(self) -> bytes:
        """The bytes after the end of the stream."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Decompresses buffered bytes and `data`; returns at most `max_length` bytes."""


class _Zlib:
    """A zlib stream that buffers the input that did not fit into the last slice."""

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
    """Detects the zlib format; some clients send raw deflate instead."""
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
    """Decompresses a body: call `feed`, then `take` until it returns nothing; at the end, `end`.

    gzip and zstd allow several concatenated streams in one body.
    """

    def __init__(self, encoding: str) -> None:
        """Starts a body; `encoding` is a key of `_STREAMS`."""
        self._encoding = encoding
        self._stream: _Stream | None = None
        self._streams = 0
        self._pending = b""

    def feed(self, data: bytes) -> None:
        """Adds the next bytes of the body."""
        self._pending += data

    def take(self) -> bytes:
        """Returns the next decompressed bytes, at most `SLICE_BYTES`; empty when it needs input.

        Raises:
            InvalidRequest: The body is damaged, has another encoding, or continues after its end.
        """
        while self._stream is not None or len(self._pending) >= _ZLIB_HEAD_BYTES:
            if self._stream is None:
                self._stream = self._next_stream()
            data, self._pending = self._pending, b""
            try:
                unpacked = self._stream.decompress(data, SLICE_BYTES)
            except (zlib.error, zstd.ZstdError) as error:
                raise self._wrong_bytes() from error
            if self._stream.eof:
                self._pending = self._stream.unused_data
                self._stream = None
            if unpacked:
                return unpacked
            if self._stream is not None:
                break
        return b""

    def end(self) -> None:
        """Checks that the body is complete. Raises `InvalidRequest` if it is truncated."""
        if self._stream is not None or self._pending:
            raise InvalidRequest(
                f"The {self._encoding} body is truncated. Send the complete body.",
                param=HEADER,
            )

    def _next_stream(self) -> _Stream:
        self._streams += 1
        if self._streams > (1 if self._encoding == "deflate" else _MAX_STREAMS):
            raise self._wrong_bytes()
        return _STREAMS[self._encoding](self._pending)

    def _wrong_bytes(self) -> InvalidRequest:
        if self._streams > 1:
            message = f"The {self._encoding} body continues after its end. Send nothing after it."
        else:
            message = (
                f"The {HEADER} is {self._encoding}, but the body is not valid {self._encoding}. "
                f"Send valid {self._encoding}, or an uncompressed body without that header."
            )
        return InvalidRequest(message, param=HEADER)


def create_unpacker(header: str) -> Unpacker | None:
    """Creates the unpacker for a Content-Encoding; None for an uncompressed body.

    Raises:
        UnsupportedEncoding: The encoding is not supported, or there are several.
    """
    names = [name.strip().lower() for name in header.split(",")]
    encodings = [name for name in names if name not in {"", "identity"}]
    if not encodings:
        return None
    if len(encodings) > 1:
        listed = ", ".join([*encodings[:2], *(["..."] if encodings[2:] else [])])
        raise UnsupportedEncoding(
            f"The body has {len(encodings)} encodings: {listed[:_MAX_QUOTED_CHARS]}. Use one of "
            f"{ACCEPTED_ENCODINGS}, or none.",
            param=HEADER,
        )
    if encodings[0] not in _STREAMS:
        raise UnsupportedEncoding(
            f"The {HEADER} {encodings[0][:_MAX_QUOTED_CHARS]} is not supported. Use one of "
            f"{ACCEPTED_ENCODINGS}, or none.",
            param=HEADER,
        )
    return Unpacker(encodings[0])
