"""Reads the structure of a JPEG or PNG file, to see whether it may be passed on as it is.

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

Size = tuple[int, int]
"""Width and height in pixels."""

_MAX_PARTS = 4096
"""Maximum segments or chunks that are looked at."""

_JPEG_START = b"\xff\xd8"
_JPEG_END = b"\xff\xd9"
_SCAN = 0xDA
_HUFFMAN_FRAMES = frozenset({0xC0, 0xC1, 0xC2})
"""Baseline, extended and progressive; decoders differ in what else they read."""

_WITHOUT_LENGTH = frozenset({0x00, 0x01, 0xFF, *range(0xD0, 0xDA)})
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

_PNG_END = b"IEND"
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


def plain_size(data: bytes, name: str) -> Size | None:
    """The size of a plain file, whose pixels normalising would not change; None if it is not plain.

    Args:
        data: The file.
        name: Pillow's name of its format.
    """
    plain = {"JPEG": _plain_jpeg, "PNG": _plain_png}.get(name)
    try:
        return None if plain is None else plain(data)
    except (IndexError, struct.error):  # it is truncated
        return None


def ends_with_image(data: bytes, name: str) -> bool:
    """Whether a JPEG or PNG file ends with the end marker of its image.

    Args:
        data: The file.
        name: Pillow's name of its format.
    """
    try:
        if name == "JPEG":
            scans = (end for marker, _, end in _segments(data) if marker == _SCAN)
            return _is_only_scan(data, next(scans, len(data)))
        return next((end for name, _, end in _chunks(data) if name == _PNG_END), 0) == len(data)
    except (IndexError, struct.error):  # it is truncated
        return False


def _plain_jpeg(data: bytes) -> Size | None:
    size: Size | None = None
    has_exif = False
    for marker, begin, end in _segments(data):
        if marker in _HUFFMAN_FRAMES and size is None:
            size = _frame_size(data[begin:end])
            if size is None:
                return None
        elif marker == _SCAN:
            return size if _is_only_scan(data, end) else None
        elif marker == _APP1:
            is_exif = data.startswith(_EXIF, begin)
            if (is_exif and has_exif) or not _is_upright(data[begin:end]):
                return None  # some decoders join the EXIF of several segments
            has_exif = has_exif or is_exif
        elif marker not in _PLAIN_SEGMENTS:
            return None
    return None


def _is_only_scan(data: bytes, begin: int) -> bool:
    """Whether the first end marker after this scan's header ends the file.

    In a scan, 0 or a restart marker follows FF.
    """
    return data.find(_JPEG_END, begin) == len(data) - len(_JPEG_END)


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """The marker of each segment, and where its content begins and ends; the scan is the last."""
    at = len(_JPEG_START)
    for _ in range(_MAX_PARTS):
        marker = data[at + 1]
        if data[at] != 0xFF or marker in _WITHOUT_LENGTH:  # noqa: PLR2004 - begins each marker
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
    chunks = _chunks(data)
    header = next(chunks)
    width, height, bits, colours = struct.unpack_from(">IIBB", data, header[1])
    usual = header[0] == b"IHDR" and bits == 8 and colours in _PNG_TYPES  # noqa: PLR2004
    if not usual or not width or not height:
        return None
    has_data = False
    for name, begin, end in chunks:
        if name == _PNG_END:
            return (width, height) if has_data and end == len(data) else None
        if name not in _PLAIN_CHUNKS or (name == b"tEXt" and not _is_known_text(data, begin)):
            return None
        has_data = has_data or name == b"IDAT"
    return None


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The name of each chunk, where its content begins, and where it ends with its checksum."""
    at = len(_PNG_START)
    for _ in range(_MAX_PARTS):
        length, name = struct.unpack_from(">I4s", data, at)
        begin = at + 8
        at = begin + length + 4
        yield name, begin, at


def _is_known_text(data: bytes, at: int) -> bool:
    """Whether a text that begins here has a keyword of the specification."""
    return data[at : at + _MAX_KEYWORD + 1].partition(b"\0")[0] in _KEYWORDS
