"""Parses the forms in which clients send images: http(s) URLs, data URLs, Base64 text, uploads.

The forms are told apart only here; all other code works on `Source`. The media type of a data URL
is ignored: the format is detected from the bytes.
"""

from __future__ import annotations

import re
import string
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

import msgspec

from silkline.errors import UNDECODABLE, ImageTooLarge, InputError, InvalidRequest
from silkline.ingress import urls
from silkline.ingress.known_images import digest
from silkline.ingress.pixels import ANY_PIXELS, PixelRange

# Each repetition is bounded and possessive, so matching takes bounded time on any text.
_DATA_URL = re.compile(r"\s{0,64}+data:", re.IGNORECASE)
_BASE64_HEAD = re.compile(
    r"""\s{0,64}+ data: [^,";]{0,256}+
        (?: ; (?! \s{0,64}+ base64 \s{0,64}+ ,) (?: [^,";] | "[^"]{0,1024}" ){0,1024}+ ){0,64}+
        ; \s{0,64}+ base64 \s{0,64}+ ,""",
    re.IGNORECASE | re.VERBOSE,
)
_MAX_SCHEME_CHARS = 32
_EXAMPLE = "data:image/jpeg;base64,<data>"

_DIGITS = (string.ascii_letters + string.digits + "+/").encode()
_FROM_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_WHITE_SPACE = string.whitespace.encode()
_ESCAPED_SPACE = re.compile(r"%(?:20|0[9-d])", re.IGNORECASE)
_ESCAPED_SPACES = ("%20", "%09", *(f"%0{digit}" for digit in "aAbBcCdD"))
_TAIL_CHARS = 16
"""More than the padding has, also if it is percent-encoded and a line break follows."""

_GROUP = 4


class Base64Data(NamedTuple):
    """Bytes that were sent in Base64.

    Attributes:
        data: The bytes.
        mends: How the text differed from the form of RFC 4648: `white_space`, `url_safe_alphabet`,
            `percent_encoding`, `padding`.
    """

    data: bytes
    mends: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UrlSource:
    """An image that must be fetched.

    Attributes:
        url: The image's URL.
        param: The field of the request that named it, in the client's terms.
        pixels: How many pixels the client wants it to have.
    """

    url: urls.ImageAddress
    param: str
    pixels: PixelRange = ANY_PIXELS


@dataclass(frozen=True)
class EncodedSource:
    """An image that was sent as Base64 text, not yet decoded.

    Attributes:
        text: Base64 as it was sent: perhaps with white space, in the URL-safe alphabet,
            percent-encoded or without padding.
        param: The field of the request that held it, in the client's terms.
        pixels: How many pixels the client wants it to have.
    """

    text: str = field(repr=False)
    param: str
    pixels: PixelRange = ANY_PIXELS

    @property
    def size(self) -> int:
        """The image's size in bytes by the text's length; white space makes it an overestimate."""
        return (len(self.text) + _GROUP - 1) // _GROUP * 3 - self.text[-2:].count("=")

    def exceeds(self, max_bytes: int) -> bool:
        """Whether the image has more bytes. Scans the text only if its length is too great."""
        return self.size > max_bytes and _count_digits(self.text) * 3 // _GROUP > max_bytes

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of the text, computed once. Text that is not ASCII is not Base64 anyway."""
        return digest(self.text.encode("utf-8", "replace"))

    def decode(self, *, strict: bool = False) -> Base64Data:
        """Decodes the image's bytes; check `exceeds` first.

        Args:
            strict: Accepts only the form of RFC 4648: with + and /, padded, without white space.

        Raises:
            InvalidRequest: The text is not Base64.
        """
        try:
            return Base64Data(_unpacked(self.text))
        except UNDECODABLE:
            pass
        if strict:
            raise InvalidRequest(
                "The image is not strict Base64, which the server requires (its setting "
                "strict_base64 or strict_fields). Use the alphabet with + and /, with padding and "
                "without white space."
            )
        return _decode_lenient(self.text)


@dataclass(frozen=True)
class PercentSource(EncodedSource):
    """An image that was sent as a data URL in percent-encoding, not yet decoded."""

    @property
    def size(self) -> int:
        """The image's size in bytes; an underestimate if a % begins no escape."""
        return max(len(self.text) - 2 * self._escapes, len(self.text) // 3)

    def exceeds(self, max_bytes: int) -> bool:
        """Whether the image has more bytes."""
        return self.size > max_bytes

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of the URL; never that of Base64, which has no comma."""
        return digest(f"data:,{self.text}".encode("utf-8", "replace"))

    def decode(self, *, strict: bool = False) -> Base64Data:
        """Decodes the image's bytes, which takes long; check `exceeds` first.

        Never fails; there is no stricter form.
        """
        del strict
        return Base64Data(unquote_to_bytes(self.text.encode("utf-8", "replace")))

    @cached_property
    def _escapes(self) -> int:
        return self.text.count("%")


@dataclass(frozen=True)
class UploadSource:
    """An image that was sent as plain bytes.

    Attributes:
        data: The encoded image.
        param: The field of the request that held it, in the client's terms.
        pixels: How many pixels the client wants it to have.
    """

    data: bytes = field(repr=False)
    param: str
    pixels: PixelRange = ANY_PIXELS

    @property
    def size(self) -> int:
        """The image's size in bytes."""
        return len(self.data)

    def exceeds(self, max_bytes: int) -> bool:
        """Whether the image has more bytes."""
        return self.size > max_bytes

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of the bytes, computed once."""
        return digest(self.data)


SentSource = EncodedSource | UploadSource
"""An image whose data is in the request."""

Source = UrlSource | SentSource


def parse_url(text: str, *, param: str, pixels: PixelRange = ANY_PIXELS) -> Source:
    """Reads an http, https or data URL.

    Args:
        text: The URL.
        param: The field that held it, in the client's terms.
        pixels: How many pixels the client wants the image to have.

    Raises:
        InvalidRequest: The text is not a URL, or is a data URL without data.
        UrlBlocked: The URL is malformed or has another scheme.
    """
    if _DATA_URL.match(text):
        return _parse_data_url(text, param, pixels)
    try:
        return UrlSource(urls.parse(text), param, pixels)
    except InputError as error:
        error.param = param
        raise


def parse_base64(text: str, *, param: str, pixels: PixelRange = ANY_PIXELS) -> SentSource:
    """Accepts Base64 text or a data URL. `EncodedSource.decode` checks the Base64 later.

    The arguments are those of `parse_url`.

    Raises:
        InvalidRequest: The text is another URL, or a data URL without data.
    """
    if _DATA_URL.match(text):
        return _parse_data_url(text, param, pixels)
    if urls.SCHEME.match(text, 0, _MAX_SCHEME_CHARS):
        raise InvalidRequest(
            "The image is a URL, but Base64 was expected. Send a URL as image_url.", param=param
        )
    return EncodedSource(text, param, pixels)


def parse_file(text: str, *, param: str, pixels: PixelRange = ANY_PIXELS) -> Source:
    """Accepts a URL, a data URL or Base64 text. The arguments are those of `parse_url`.

    Raises:
        InvalidRequest, UrlBlocked: As `parse_url` and `parse_base64` do.
    """
    is_url = urls.SCHEME.match(text, 0, _MAX_SCHEME_CHARS)
    return (parse_url if is_url else parse_base64)(text, param=param, pixels=pixels)


def uploaded(data: bytes, *, param: str, pixels: PixelRange = ANY_PIXELS) -> Source:
    """Wraps the bytes of an uploaded file. The arguments are those of `parse_url`."""
    return UploadSource(data, param, pixels)


def too_many_bytes(max_bytes: int) -> ImageTooLarge:
    """The error for an image with more than `max_bytes` encoded bytes."""
    return ImageTooLarge(f"The image is larger than {max_bytes} bytes. Send a smaller image.")


def _parse_data_url(text: str, param: str, pixels: PixelRange) -> SentSource:
    head = _BASE64_HEAD.match(text)
    if head:
        return EncodedSource(text[head.end() :], param, pixels)
    _, _, data = text.partition(",")
    # Raw image bytes are never valid in a URL: without % this is Base64 without `;base64`.
    if "%" in data:
        return PercentSource(data, param, pixels)
    raise InvalidRequest(
        f"The data URL has no `;base64,` between its media type and its data. Send {_EXAMPLE}.",
        param=param,
    )


def _count_digits(text: str) -> int:
    """Number of Base64 digits in valid text; percent-encoding is not decoded, which is slow."""
    if "%" not in text:
        return len(_digits(text)[0])
    spaces = sum(text.count(space) for space in (*string.whitespace, *_ESCAPED_SPACES))
    tail = text[-_TAIL_CHARS:]
    padding = tail.count("=") + tail.upper().count("%3D")
    return len(text) - 2 * text.count("%") - spaces - padding


def _digits(text: str) -> tuple[bytes, int]:
    """Digits in the standard alphabet, without white space and padding; the padding's length."""
    data = text.encode("utf-8", "replace")
    if b"%" in data:
        data = unquote_to_bytes(data)
    data = data.translate(_FROM_URL_SAFE, _WHITE_SPACE)
    digits = data.rstrip(b"=")
    return digits, len(data) - len(digits)


def _unpacked(text: str) -> bytes:
    """Decodes the form of RFC 4648; seven times faster than binascii.

    Raises:
        msgspec.ValidationError, UnicodeError: The text has another form.
    """
    return msgspec.convert(text, bytes)


def _decode_lenient(text: str) -> Base64Data:
    digits, padding = _digits(text)
    missing = -len(digits) % _GROUP
    others = digits.translate(None, _DIGITS)
    if others:
        found = others.decode(errors="replace")[0]
        wrong = (
            f"it contains {found!r}. Only letters, digits, + and / (or - and _) are allowed, and "
            "= at the end"
        )
    elif missing == _GROUP - 1:
        wrong = "it is truncated: one character is left over. Send all of it"
    elif padding not in {0, missing}:
        wrong = f"it is padded with {padding} =; {missing} or none were expected"
    else:
        padded = digits + b"=" * missing
        return Base64Data(_unpacked(padded.decode()), _mends(text, padding, missing))
    raise InvalidRequest(f"The image is not valid Base64: {wrong}.")


def _mends(text: str, padding: int, missing: int) -> tuple[str, ...]:
    """How valid Base64 text differs from the form of RFC 4648."""
    found = {
        "white_space": any(mark in text for mark in string.whitespace)
        or _ESCAPED_SPACE.search(text),
        "url_safe_alphabet": "-" in text or "_" in text,
        "percent_encoding": "%" in text,
        "padding": padding != missing,
    }
    return tuple(name for name, is_found in found.items() if is_found)
