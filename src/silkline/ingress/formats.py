"""Detects the format of an encoded image from its first bytes.

Only formats on this list reach a parser. File names, media types and extensions are ignored. Data
that only starts like an image is refused later, by the decoder.
"""

from __future__ import annotations

import string
from enum import StrEnum

from silkline.errors import ImageFormat


class FileFormat(StrEnum):
    """The supported formats, by their names in Pillow.

    An MPO file is a JPEG followed by further images; only the first is decoded.
    """

    JPEG = "JPEG"
    PNG = "PNG"
    WEBP = "WEBP"
    GIF = "GIF"
    BMP = "BMP"
    TIFF = "TIFF"
    AVIF = "AVIF"

    @property
    def media_type(self) -> str:
        """The format's media type, such as `image/jpeg`."""
        return f"image/{self.value.lower()}"


_PREFIXES = {
    b"\xff\xd8\xff": FileFormat.JPEG,
    b"\x89PNG\r\n\x1a\n": FileFormat.PNG,
    b"GIF87a": FileFormat.GIF,
    b"GIF89a": FileFormat.GIF,
    b"II*\0": FileFormat.TIFF,
    b"MM\0*": FileFormat.TIFF,
    b"II+\0": FileFormat.TIFF,  # BigTIFF
    b"MM\0+": FileFormat.TIFF,
}
_WEBP_CHUNKS = {b"VP8 ", b"VP8L", b"VP8X"}
_BMP_HEADER_SIZES = {12, 40, 52, 56, 64, 108, 124}
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1"}
_MAX_BRANDS_BYTES = 256
_PDF = b"%PDF-"
_LEADING = b"\xef\xbb\xbf" + string.whitespace.encode()
_MAX_LEADING_BYTES = 1024  # where PDFium looks for the beginning of a document
_OTHERS = {
    b"%pdf": "a PDF",
    b"<svg": "SVG",
    b"<?xml": "XML or SVG",
    b"<!doctype html": "a web page",
    b"<html": "a web page",
    b"{": "JSON",
}


DOCUMENT = "pdf"
"""The format of a document, beside those of images."""


def is_document(data: bytes) -> bool:
    """Whether the data is a PDF document, whose pages become images."""
    return data[:_MAX_LEADING_BYTES].lstrip(_LEADING).startswith(_PDF)


def sniff(data: bytes) -> FileFormat:
    """Detects the format of an encoded image.

    Raises:
        ImageFormat: It is not one of `FileFormat`.
    """
    for prefix, known in _PREFIXES.items():
        if data.startswith(prefix):
            return known
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP" and data[12:16] in _WEBP_CHUNKS:
        return FileFormat.WEBP
    if data.startswith(b"BM") and int.from_bytes(data[14:18], "little") in _BMP_HEADER_SIZES:
        return FileFormat.BMP
    if _brands(data) & _AVIF_BRANDS:
        return FileFormat.AVIF
    raise ImageFormat(
        f"The data is {_named(data)}. Send JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, MPO or PDF."
    )


def _named(data: bytes) -> str:
    """Names data that a client may have sent as an image by mistake."""
    if not data:
        return "empty"
    if _brands(data) & _HEIC_BRANDS:
        return "HEIC, which is not supported"
    for prefix, name in _OTHERS.items():
        if data.lstrip()[: len(prefix)].lower() == prefix:
            return f"{name}, not an image of a supported format"
    return "not an image of a supported format"


def _brands(data: bytes) -> set[bytes]:
    """The brands in the file type box, if there is one: ISO/IEC 14496-12 section 4.3."""
    if data[4:8] != b"ftyp":
        return set()
    size = min(int.from_bytes(data[:4], "big"), _MAX_BRANDS_BYTES)
    return {data[at : at + 4] for at in (8, *range(16, size - 3, 4))}
