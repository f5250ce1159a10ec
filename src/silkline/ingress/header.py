"""Reads the header of a JPEG or PNG file, to see whether normalising would change its pixels.

Nothing is decoded and no library is used. A file is plain if it has one opaque 8-bit image in RGB
or grey, upright, without a colour profile, and ends where its image ends. Only known segments and
chunks count as plain, since decoders find orientation, transparency and even a second size in the
others. A file with anything unusual does not count as plain: the decoder then decides.

https://www.w3.org/Graphics/JPEG/itu-t81.pdf, https://www.w3.org/TR/png-3/, and
https://www.cipa.jp/std/documents/e/DC-X008-Translation-2019-E.pdf for the orientation
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from silkline.ingress.formats import FileFormat

Size = tuple[int, int]
"""Width and height in pixels."""

_MAX_PARTS = 4096
"""Maximum segments or chunks that are looked at."""

_JPEG_START = b"\xff\xd8"
_JPEG_END = b"\xff\xd9"
_SCAN = 0xDA
_HUFFMAN_FRAMES = frozenset({0xC0, 0xC1, 0xC2})
"""Baseline, extended and progressive; decoders differ in what else they read."""

_APP1, _APP2 = 0xE1, 0xE2
"""EXIF or XMP; colour profiles or further images."""

_PLAIN_SEGMENTS = frozenset({0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)}) - {_APP1, _APP2}
"""Tables, restart interval, comment and applications' data."""

_EXIF = b"Exif\0\0"
_XMP_ORIENTATION = b"Orientation"
_SAMPLINGS = frozenset({1, 2, 4})

_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_TYPES = frozenset({0, 2})
"""Grey and RGB."""

_PNG_HEADER = 13
_PLAIN_CHUNKS = frozenset(
    {b"IDAT", b"bKGD", b"cHRM", b"gAMA", b"pHYs", b"sBIT", b"sRGB", b"tEXt", b"tIME"}
)
_KEYWORDS = frozenset(
    {
        *(b"Title", b"Author", b"Description", b"Copyright", b"Creation Time"),
        *(b"Software", b"Disclaimer", b"Warning", b"Source", b"Comment"),
    }
)
"""The keywords of texts in the specification; decoders look for EXIF and XMP in others."""

_MAX_KEYWORD = 79
_ORIENTATION_TAG = 0x0112
_SHORT = 3
_UPRIGHT = 1


def plain_size(data: bytes, kind: FileFormat) -> Size | None:
    """The size of a plain file; None if it is not plain.

    Args:
        data: The file.
        kind: Its format.
    """
    try:
        match kind:
            case FileFormat.JPEG:
                return _plain_jpeg(data)
            case FileFormat.PNG:
                return _plain_png(data)
            case _:
                return None
    except (IndexError, struct.error):  # it is truncated
        return None


def _plain_jpeg(data: bytes) -> Size | None:
    size: Size | None = None
    has_exif = False
    for marker, begin, end in _segments(data):
        if marker in _HUFFMAN_FRAMES and size is None:
            size = _frame_size(data[begin:end])
            if size is None:
                return None
        elif marker == _SCAN:
            # In a scan, 0 or a restart marker follows FF: the first end marker ends the file.
            return size if data.find(_JPEG_END, end) == len(data) - 2 else None
        elif marker == _APP1:
            is_exif = data.startswith(_EXIF, begin)
            if (is_exif and has_exif) or not _is_upright(data[begin:end]):
                return None  # some decoders join the EXIF of several segments
            has_exif = has_exif or is_exif
        elif marker not in _PLAIN_SEGMENTS:
            return None
    return None


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """The marker of each segment, and where its content begins and ends; the scan is the last."""
    at = len(_JPEG_START)
    for _ in range(_MAX_PARTS):
        marker = data[at + 1]
        if data[at] != 0xFF:  # noqa: PLR2004 - begins each marker
            return
        end = at + 2 + struct.unpack_from(">H", data, at + 2)[0]
        if end < at + 4 or end > len(data):
            return
        yield marker, at + 4, end
        at = end


def _frame_size(frame: bytes) -> Size | None:
    """The size of a frame with 8 bits, in grey or YCbCr."""
    bits, height, width, components = struct.unpack_from(">BHHB", frame)
    usual = bits == 8 and components in {1, 3} and len(frame) == 6 + 3 * components  # noqa: PLR2004
    if not usual or not height or not width:
        return None
    samplings = [divmod(frame[7 + 3 * index], 16) for index in range(components)]
    fits = all(_SAMPLINGS.issuperset(pair) for pair in samplings)
    return (width, height) if fits else None


def _is_upright(segment: bytes) -> bool:
    """Whether an APP1 segment, which holds EXIF or XMP, does not turn the image."""
    if not segment.startswith(_EXIF):
        return _XMP_ORIENTATION not in segment
    tiff = segment[len(_EXIF) :]
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return False
    (at,) = struct.unpack_from(f"{order}I", tiff, 4)
    (count,) = struct.unpack_from(f"{order}H", tiff, at)
    entries = (
        struct.unpack_from(f"{order}HHIH", tiff, at + 2 + 12 * index) for index in range(count)
    )
    upright = (_ORIENTATION_TAG, _SHORT, 1, _UPRIGHT)
    return all(entry == upright for entry in entries if entry[0] == _ORIENTATION_TAG)


def _plain_png(data: bytes) -> Size | None:
    at = len(_PNG_START)
    length, name, width, height, bits, colours = struct.unpack_from(">I4sIIBB", data, at)
    if (length, name, bits) != (_PNG_HEADER, b"IHDR", 8) or colours not in _PNG_TYPES:
        return None
    has_data = False
    for _ in range(_MAX_PARTS):
        at += 12 + length
        length, name = struct.unpack_from(">I4s", data, at)
        if name == b"IEND":
            ends = at + 12 + length == len(data)
            return (width, height) if has_data and ends and width and height else None
        if name not in _PLAIN_CHUNKS or (name == b"tEXt" and not _is_known_text(data, at + 8)):
            return None
        has_data = has_data or name == b"IDAT"
    return None


def _is_known_text(data: bytes, at: int) -> bool:
    """Whether a text that begins here has a keyword of the specification."""
    return data[at : at + _MAX_KEYWORD + 1].partition(b"\0")[0] in _KEYWORDS
