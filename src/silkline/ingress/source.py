"""Where a picture comes from, in whichever form the client sent it.

What a client sends is told apart here once; everything behind works on `Source`. A data URL's
media type is not believed and not kept: the format is told from the bytes.
"""

from __future__ import annotations

import binascii
from dataclasses import dataclass, field
from functools import cached_property

from silkline.errors import ImageTooLarge, InvalidRequest, UrlBlocked
from silkline.ingress import urls
from silkline.ingress.known_pictures import digest

_DATA_SCHEME = "data:"
_MAX_MEDIA_TYPE_CHARS = 256


@dataclass(frozen=True, slots=True)
class UrlSource:
    """A picture that is to be fetched.

    Attributes:
        url: Where it lies.
        param: The field of the request that named it, in the client's terms.
    """

    url: urls.PictureUrl
    param: str


@dataclass(frozen=True)
class EncodedSource:
    """A picture that came as Base64 text, not yet decoded.

    Attributes:
        text: RFC 4648 Base64 with padding and without line breaks.
        param: The field of the request that held it, in the client's terms.
    """

    text: str = field(repr=False)
    param: str

    @property
    def size(self) -> int:
        """The picture's bytes by the length of the text, if that is right."""
        return len(self.text) // 4 * 3 - self.text[-2:].count("=")

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of the text, computed once; text that is not ASCII is no Base64."""
        return digest(self.text.encode("utf-8", "replace"))

    def decode(self) -> bytes:
        """The picture's bytes; check `size` before.

        Raises:
            InvalidRequest: The text is not strict Base64.
        """
        text = self.text
        if text.find("=", 0, -2) >= 0:  # binascii lets whole groups of padding pass
            raise _bad_base64()
        try:
            return binascii.a2b_base64(text, strict_mode=True)
        except ValueError as error:
            raise _bad_base64() from error


@dataclass(frozen=True)
class UploadSource:
    """A picture that came as plain bytes.

    Attributes:
        data: The encoded picture.
        param: The field of the request that held it, in the client's terms.
    """

    data: bytes = field(repr=False)
    param: str

    @property
    def size(self) -> int:
        """The picture's bytes."""
        return len(self.data)

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of the bytes, computed once."""
        return digest(self.data)


SentSource = EncodedSource | UploadSource
"""A picture that came with the request."""

Source = UrlSource | SentSource


def parse_url(text: str, *, param: str) -> Source:
    """Reads an http, https or data URL.

    Raises:
        InvalidRequest: The text is no URL, or a data URL that is not
            `data:<media type>;base64,<data>`.
        UrlBlocked: The URL is malformed or has another scheme.
    """
    if text[: len(_DATA_SCHEME)].lower() == _DATA_SCHEME:
        return _parse_data_url(text, param)
    if not urls.HAS_SCHEME.match(text):
        raise InvalidRequest("The picture is no URL. Send an http, https or data URL.", param=param)
    try:
        return UrlSource(urls.parse(text), param)
    except UrlBlocked as error:
        error.param = param
        raise


def parse_base64(text: str, *, param: str) -> Source:
    """Takes Base64 text as it stands; `EncodedSource.decode` says whether it is right."""
    return EncodedSource(text, param)


def uploaded(data: bytes, *, param: str) -> Source:
    """Takes the bytes of an uploaded file."""
    return UploadSource(data, param)


def too_many_bytes(max_bytes: int) -> ImageTooLarge:
    """What a picture is refused with whose encoded bytes are too many."""
    return ImageTooLarge(f"The picture is larger than {max_bytes} bytes. Send a smaller one.")


def _bad_base64() -> InvalidRequest:
    return InvalidRequest(
        "The picture is not valid Base64. Use the alphabet with + and /, with padding and without "
        "line breaks."
    )


def _parse_data_url(text: str, param: str) -> Source:
    comma = text.find(",", 0, _MAX_MEDIA_TYPE_CHARS)
    if comma < 0 or not text[:comma].lower().endswith(";base64"):
        raise InvalidRequest(
            "The data URL does not have the form data:<media type>;base64,<data>.", param=param
        )
    return EncodedSource(text[comma + 1 :], param)
