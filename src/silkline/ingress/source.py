"""Where an image comes from, in whichever form the client sent it.

What a client sends is told apart here once; everything behind works on `Source`. A data URL's
media type is not believed and not kept: the format is told from the bytes.
"""

from __future__ import annotations

import binascii
import re
import string
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import unquote_to_bytes

from silkline.errors import ImageTooLarge, InputError, InvalidRequest
from silkline.ingress import urls
from silkline.ingress.known_images import digest

# Each repetition is bounded: it costs time that is the same for every text.
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
_GROUP = 4


@dataclass(frozen=True, slots=True)
class UrlSource:
    """An image that is to be fetched.

    Attributes:
        url: Where it is.
        param: The field of the request that named it, in the client's terms.
    """

    url: urls.ImageAddress
    param: str


@dataclass(frozen=True)
class EncodedSource:
    """An image that came as Base64 text, not yet decoded.

    Attributes:
        text: Base64 as it came: perhaps with white space, in the URL-safe alphabet, with
            percent-encoding, without padding.
        param: The field of the request that held it, in the client's terms.
    """

    text: str = field(repr=False)
    param: str

    @property
    def size(self) -> int:
        """The image's bytes by the length of the text; fewer where the text has white space."""
        return (len(self.text) + _GROUP - 1) // _GROUP * 3 - self.text[-2:].count("=")

    def exceeds(self, max_bytes: int) -> bool:
        """Whether the image has more bytes; the text is read only where its length is too great."""
        return self.size > max_bytes and len(_digits(self.text)[0]) * 3 // _GROUP > max_bytes

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of the text, computed once; text that is not ASCII is no Base64."""
        return digest(self.text.encode("utf-8", "replace"))

    def decode(self, *, strict: bool = False) -> bytes:
        """The image's bytes; check `exceeds` before.

        Args:
            strict: Takes the text only as RFC 4648 has it: with + and /, padded, without white
                space.

        Raises:
            InvalidRequest: The text is not Base64.
        """
        text = self.text
        # binascii lets padding pass that is not needed.
        if len(text) % _GROUP == 0 and text.find("=", 0, -2) < 0:
            try:
                return binascii.a2b_base64(text, strict_mode=True)
            except ValueError:
                pass
        if strict:
            raise InvalidRequest(
                "The image is not Base64 as the server's setting strict_base64 wants it. Use the "
                "alphabet with + and /, with padding and without white space."
            )
        return _decode_mended(text)


@dataclass(frozen=True)
class UploadSource:
    """An image that came as plain bytes.

    Attributes:
        data: The encoded image.
        param: The field of the request that held it, in the client's terms.
    """

    data: bytes = field(repr=False)
    param: str

    @property
    def size(self) -> int:
        """The image's bytes."""
        return len(self.data)

    def exceeds(self, max_bytes: int) -> bool:
        """Whether the image has more bytes."""
        return self.size > max_bytes

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of the bytes, computed once."""
        return digest(self.data)


SentSource = EncodedSource | UploadSource
"""An image that came with the request."""

Source = UrlSource | SentSource


def parse_url(text: str, *, param: str) -> Source:
    """Reads an http, https or data URL.

    Raises:
        InvalidRequest: The text is no URL, or a data URL without data.
        UrlBlocked: The URL is malformed or has another scheme.
    """
    if _DATA_URL.match(text):
        return _parse_data_url(text, param)
    try:
        return UrlSource(urls.parse(text), param)
    except InputError as error:
        error.param = param
        raise


def parse_base64(text: str, *, param: str) -> SentSource:
    """Takes Base64 text, or a data URL; `EncodedSource.decode` says whether the text is right.

    Raises:
        InvalidRequest: It is another URL, or a data URL without data.
    """
    if _DATA_URL.match(text):
        return _parse_data_url(text, param)
    if urls.SCHEME.match(text, 0, _MAX_SCHEME_CHARS):
        raise InvalidRequest(
            "The image is a URL, and Base64 was expected. Send a URL as image_url.", param=param
        )
    return EncodedSource(text, param)


def uploaded(data: bytes, *, param: str) -> Source:
    """Takes the bytes of an uploaded file."""
    return UploadSource(data, param)


def too_many_bytes(max_bytes: int) -> ImageTooLarge:
    """What an image is refused with whose encoded bytes are too many."""
    return ImageTooLarge(f"The image is larger than {max_bytes} bytes. Send a smaller one.")


def _parse_data_url(text: str, param: str) -> SentSource:
    head = _BASE64_HEAD.match(text)
    if head:
        return EncodedSource(text[head.end() :], param)
    _, _, data = text.partition(",")
    # An image's bytes cannot stand in a URL as they are: without % this is Base64, or a mistake.
    if "%" in data:
        return UploadSource(unquote_to_bytes(data.encode("utf-8", "replace")), param)
    raise InvalidRequest(
        f"The data URL has no `;base64,` between its media type and its data. Send {_EXAMPLE}.",
        param=param,
    )


def _digits(text: str) -> tuple[bytes, int]:
    """Base64 text in the standard alphabet without white space, and how much padding it had."""
    data = text.encode("utf-8", "replace")
    if b"%" in data:
        data = unquote_to_bytes(data)
    data = data.translate(_FROM_URL_SAFE, _WHITE_SPACE)
    digits = data.rstrip(b"=")
    return digits, len(data) - len(digits)


def _decode_mended(text: str) -> bytes:
    digits, padding = _digits(text)
    missing = -len(digits) % _GROUP
    others = digits.translate(None, _DIGITS)
    if others:
        found = others.decode(errors="replace")[0]
        wrong = (
            f"it has {found!r}. Expected are letters, digits, + and / (or - and _), = at the end"
        )
    elif missing == _GROUP - 1:
        wrong = "it is cut: one character is left over. Send all of it"
    elif padding not in {0, missing}:
        wrong = f"its padding is {padding} times =. Expected is {missing} times, or none"
    else:
        return binascii.a2b_base64(digits + b"=" * missing)
    raise InvalidRequest(f"The image is not valid Base64: {wrong}.")
