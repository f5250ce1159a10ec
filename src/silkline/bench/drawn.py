"""Millions of distinct JPEGs for the cost of a few: images are joined, not encoded.

A baseline JPEG with restart markers is a sequence of segments that decode independently (ITU T.81,
F.1.1.5.3 and E.1.4): a segment may be replaced by the segment at the same position of another file
with the same tables. A few scenes are drawn and encoded once. An image takes its background from
one scene and its two products from two others, with a `bytes.join` of a few microseconds. So
nothing is encoded while the clock runs, and memory holds only the scenes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from silkline.bench.scenes import Box, draw_scene, mark
from silkline.bench.schedule import NEAR_VARIANTS

SCENES = 128
"""Number of scenes drawn; a power of two."""

DISTINCT = SCENES**3
"""Number of different images; after that they repeat."""

STEP = 32
SMALLEST = 128
"""Image sides are a multiple of `STEP` and at least `SMALLEST` pixels."""

_MCU = 16  # pixels of a minimum coded unit with 4:2:0 subsampling
_CELL_MCUS = 2
_CELL = _CELL_MCUS * _MCU
_QUALITY = 88
_RESTART = re.compile(rb"(?<=\xff[\xd0-\xd7])")  # within a scan, FF is stuffed unless a marker
_END = b"\xff\xd9"
_START_OF_SCAN = b"\xff\xda"
_SCATTER = 0x9E3779B1  # odd, so that consecutive numbers share no scene
_TINTS = 64


@dataclass(frozen=True, slots=True)
class _Layout:
    """The parts of an image, in cells of 32 x 16 pixels; ends are exclusive."""

    size: int

    @property
    def columns(self) -> int:
        return self.size // _CELL

    @property
    def rows(self) -> range:
        """The rows that the cards cover."""
        return range(self.size // _MCU // 8, self.size // _MCU * 7 // 8)

    @property
    def card_columns(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Start and end column of the left card and of the right card."""
        half, edge = self.columns // 2, max(1, self.columns // 12)
        return (edge, half), (half + (self.columns % 2), self.columns - edge)

    @property
    def cards(self) -> list[Box]:
        """The cards' boxes in pixels, ends inclusive."""
        top, bottom = self.rows.start * _MCU, self.rows.stop * _MCU - 1
        return [(a * _CELL, top, b * _CELL - 1, bottom) for a, b in self.card_columns]


@dataclass(frozen=True, slots=True)
class _Parts:
    """The segments of one encoded scene: around the cards, and each card's rows."""

    top: bytes
    sides: list[tuple[bytes, bytes, bytes]]
    bottom: bytes
    left: list[bytes]
    right: list[bytes]


class DrawnImages:
    """A sequence of images; the same number gives the same bytes in every process."""

    def __init__(self, size: int) -> None:
        """Draws the scenes; takes about a second.

        Args:
            size: Width and height in pixels, a multiple of `STEP`.
        """
        self._layout = layout = _Layout(size)
        self._head, first = _encode(draw_scene(0, size, layout.cards))
        scenes = [first]
        scenes += [_encode(draw_scene(n, size, layout.cards))[1] for n in range(1, SCENES)]
        self._scenes = [_take_apart(cells, layout) for cells in scenes]
        self._corners = [cells[:2] for cells in scenes]
        self._marks = _marks(size)

    def jpeg(self, number: int, variant: int = 0) -> bytes:
        """The bytes of an image.

        Args:
            number: The image's number, from 0; images repeat after `DISTINCT`.
            variant: 0 for the image itself; 1 to `NEAR_VARIANTS` for a near duplicate, which
                differs by a mark in its corner.
        """
        scattered = number * _SCATTER % DISTINCT
        rest, ground_number = divmod(scattered, SCENES)
        right, left = (self._scenes[index] for index in divmod(rest, SCENES))
        ground = self._scenes[ground_number]
        corner = self._corners[ground_number] if not variant else self._marked(variant)
        chunks = [self._head, *corner, ground.top]
        rows = zip(ground.sides, left.left, right.right, strict=True)
        for (before, between, after), left_row, right_row in rows:
            chunks += (before, left_row, between, right_row, after)
        chunks += (ground.bottom, _END)
        return b"".join(chunks)

    def _marked(self, variant: int) -> list[bytes]:
        first, second = divmod(variant % NEAR_VARIANTS, _TINTS)
        return [self._marks[first][0], self._marks[second][1]]


def _encode(scene: Image.Image) -> tuple[bytes, list[bytes]]:
    """The header up to the scan, and the cells, each with its trailing restart marker."""
    encoded = io.BytesIO()
    scene.save(
        encoded, "JPEG", quality=_QUALITY, subsampling="4:2:0", restart_marker_blocks=_CELL_MCUS
    )
    whole = encoded.getvalue()
    scan = whole.index(_START_OF_SCAN)
    begin = scan + 2 + int.from_bytes(whole[scan + 2 : scan + 4], "big")
    return whole[:begin], _RESTART.split(whole[begin : -len(_END)])


def _take_apart(cells: Sequence[bytes], layout: _Layout) -> _Parts:
    wide = layout.columns
    (left, left_end), (right, right_end) = layout.card_columns

    def runs(begin: int, end: int) -> Iterator[bytes]:
        for row in layout.rows:
            yield b"".join(cells[row * wide + begin : row * wide + end])

    return _Parts(
        top=b"".join(cells[2 : layout.rows.start * wide]),  # the corner has its own two cells
        sides=list(zip(runs(0, left), runs(left_end, right), runs(right_end, wide), strict=True)),
        bottom=b"".join(cells[layout.rows.stop * wide :]),
        left=list(runs(left, left_end)),
        right=list(runs(right, right_end)),
    )


def _marks(size: int) -> list[list[bytes]]:
    """The first two cells of a scene, in each tint."""
    found = []
    for tint in range(_TINTS):
        image = Image.new("RGB", (size, _MCU), "white")
        inner = mark(tint, _TINTS)
        ImageDraw.Draw(image).rectangle((0, 0, 2 * _CELL - 1, _MCU - 1), fill=inner)
        found.append(_encode(image)[1][:2])
    return found
