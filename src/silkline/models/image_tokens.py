"""Computes how many prompt tokens an image takes, from its size; one rule per family.

Every rule computes what the family's processor in transformers does (4.57; each rule names the
file), without loading that processor. A `Count` separates the tokens that hold the vision tower's
output from the special tokens that the processor writes around and between them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from silkline.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class Count:
    """The tokens of an image.

    Attributes:
        features: Tokens that are filled with the vision tower's output.
        markers: Special tokens around and between them.
        parts: Number of equal parts, such as tiles, that the tower encodes separately.
    """

    features: int
    markers: int = 0
    parts: int = 1

    @property
    def total(self) -> int:
        """All tokens of the image in the context."""
        return self.features + self.markers


class TokenRule(Protocol):
    """Computes the tokens of an image from its size."""

    def count(self, width: int, height: int) -> Count:
        """The tokens of an image of `width` x `height` pixels, at least 1 by 1.

        Raises:
            InvalidRequest: The family does not support this aspect ratio.
        """

    def maximum(self) -> Count:
        """An upper bound for the tokens of any image."""

    def describe(self) -> str:
        """A short description of the rule."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """The same number for every image: a fixed image size, or a fixed set of queries.

    LLaVA-1.5 (transformers, models/llava/processing_llava.py): the patches of the crop. PaliGemma
    (models/paligemma/processing_paligemma.py): `image_seq_length`. Gemma 3
    (models/gemma3/processing_gemma3.py): `mm_tokens_per_image`, between two markers; the line
    breaks beside them belong to the text. BLIP-2 (models/blip_2/processing_blip_2.py):
    `num_query_tokens`.
    """

    features: int
    markers: int = 0

    def count(self, width: int, height: int) -> Count:  # noqa: ARG002 - the size does not matter
        """See `TokenRule`."""
        return Count(self.features, self.markers)

    def maximum(self) -> Count:
        """See `TokenRule`."""
        return Count(self.features, self.markers)

    def describe(self) -> str:
        """See `TokenRule`."""
        return "the same for every image"


@dataclass(frozen=True, slots=True)
class Anyres:
    """A small copy, and the image fitted into the best of several grids of tiles, unpadded.

    LLaVA-NeXT (transformers, models/llava_next/processing_llava_next.py and
    `select_best_resolution` in image_processing_utils.py) and, with a limit, LLaVA-OneVision
    (models/llava_onevision/processing_llava_onevision.py, for one image in a prompt; with
    several images, each takes `base` + 1 tokens).

    Attributes:
        base: Features of the small copy.
        side: Patches along a side of a tile.
        tile: Pixels along a side of a tile.
        grids: Height and width in pixels of each grid.
        max_tiles: A grid with more than 1.21 times the patches of this many tiles is shrunk to
            them; None means no limit.
    """

    base: int
    side: int
    tile: int
    grids: tuple[tuple[int, int], ...]
    max_tiles: int | None = None

    def count(self, width: int, height: int) -> Count:
        """See `TokenRule`."""
        grid_height, grid_width = max(
            self.grids, key=lambda grid: _used_and_wasted(width, height, *grid)
        )
        rows = grid_height // self.tile * self.side
        columns = grid_width // self.tile * self.side
        if width / height > columns / rows:
            rows = _unpadded(rows, height * (columns / width))
        else:
            columns = _unpadded(columns, width * (rows / height))
        if self.max_tiles is not None:
            rows, columns = self._shrunk(rows, columns)
        return Count(self.base + rows * columns + rows)

    def maximum(self) -> Count:
        """See `TokenRule`."""
        cap = None if self.max_tiles is None else self.max_tiles * self.side**2
        return Count(self.base + max(self._full(*grid, cap) for grid in self.grids))

    def describe(self) -> str:
        """See `TokenRule`."""
        return f"a small copy and the best of {len(self.grids)} grids of {self.tile} px tiles"

    def _full(self, height: int, width: int, cap: int | None) -> int:
        """Tokens of a completely filled grid, up to the size from which it is shrunk."""
        rows, columns = height // self.tile * self.side, width // self.tile * self.side
        patches = rows * columns
        return rows + (patches if cap is None else min(patches, int(_SHRINK_FROM**2 * cap)))

    def _shrunk(self, rows: int, columns: int) -> tuple[int, int]:
        ratio = math.sqrt(rows * columns / ((self.max_tiles or 1) * self.side**2))
        if ratio <= _SHRINK_FROM:
            return rows, columns
        return int(rows // ratio), int(columns // ratio)


_SHRINK_FROM = 1.1


def _used_and_wasted(width: int, height: int, grid_height: int, grid_width: int) -> tuple[int, int]:
    """Ranks a grid for an image: by the pixels kept, then by the negative of those wasted."""
    scale = min(grid_width / width, grid_height / height)
    used = min(int(width * scale) * int(height * scale), width * height)
    return used, used - grid_width * grid_height


def _unpadded(full: int, needed: float) -> int:
    """Rows or columns that remain after cutting off equally many on both sides."""
    return full - (full - int(round(needed, 7))) // 2 * 2


@dataclass(frozen=True, slots=True)
class SmartResize:
    """Both sides are rounded to whole cells, and scaled to keep the pixels within a budget.

    Qwen2-VL and Qwen2.5-VL (transformers, `smart_resize` in
    models/qwen2_vl/image_processing_qwen2_vl.py; models/qwen2_vl/processing_qwen2_vl.py). A cell
    is the patch size times the merge size and takes one token. Two markers surround the image.
    """

    cell: int
    min_pixels: int
    max_pixels: int

    _LONGEST = 200
    """Maximum ratio of the longer side to the shorter."""

    def count(self, width: int, height: int) -> Count:
        """See `TokenRule`."""
        columns, rows = self._cells(width, height)
        return Count(rows * columns, markers=2)

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height to which an image is scaled.

        Raises:
            InvalidRequest: The family does not support this aspect ratio.
        """
        columns, rows = self._cells(width, height)
        return columns * self.cell, rows * self.cell

    def maximum(self) -> Count:
        """See `TokenRule`: the budget, or the longest strip if the budget is tiny."""
        stretch = math.sqrt(self._LONGEST)
        side, minimum = (
            math.sqrt(self.max_pixels) / self.cell,
            math.sqrt(self.min_pixels) / self.cell,
        )
        one_cell_high = side * stretch if side < stretch else 0
        rounded_up = (minimum * stretch + 1) * (minimum / stretch + 1)
        return Count(math.ceil(max(side**2, one_cell_high, rounded_up)), markers=2)

    def describe(self) -> str:
        """See `TokenRule`."""
        return (
            f"one per {self.cell}x{self.cell} px cell, from {self.min_pixels} "
            f"to {self.max_pixels} px per image"
        )

    def _cells(self, width: int, height: int) -> tuple[int, int]:
        """Columns and rows."""
        if max(width, height) / min(width, height) > self._LONGEST:
            raise InvalidRequest(
                f"The image is {width}x{height}: for this model, the longer side may be at most "
                f"{self._LONGEST} times the shorter. Crop it."
            )
        rows, columns = round(height / self.cell), round(width / self.cell)
        pixels = rows * columns * self.cell**2
        if pixels > self.max_pixels:
            shrink = math.sqrt(height * width / self.max_pixels)
            rows = max(1, math.floor(height / shrink / self.cell))
            columns = max(1, math.floor(width / shrink / self.cell))
        elif pixels < self.min_pixels:
            grow = math.sqrt(self.min_pixels / (height * width))
            rows = math.ceil(height * grow / self.cell)
            columns = math.ceil(width * grow / self.cell)
        return columns, rows


@dataclass(frozen=True, slots=True)
class Cells:
    """The image is scaled up or down to as many whole cells as fit a number, keeping its aspect.

    Gemma 4 (transformers, `get_aspect_ratio_preserving_size` in
    models/gemma4/image_processing_pil_gemma4.py). Two markers surround the image.

    Attributes:
        cell: Pixels along a side of a cell, which takes one token.
        max_cells: Maximum number of cells.
        markers: Special tokens around them.
    """

    cell: int
    max_cells: int
    markers: int = 0

    def count(self, width: int, height: int) -> Count:
        """See `TokenRule`."""
        scale = math.sqrt(self.max_cells * self.cell**2 / (width * height))
        columns, rows = int(scale * width / self.cell), int(scale * height / self.cell)
        if rows == 0:
            rows, columns = 1, min(width // height, self.max_cells)
        elif columns == 0:
            rows, columns = min(height // width, self.max_cells), 1
        return Count(rows * columns, self.markers)

    def maximum(self) -> Count:
        """See `TokenRule`."""
        return Count(self.max_cells, self.markers)

    def describe(self) -> str:
        """See `TokenRule`."""
        size = f"{self.cell}x{self.cell} px"
        return f"up to {self.max_cells} cells of {size}, in the image's aspect ratio"


@dataclass(frozen=True, slots=True)
class Splitting:
    """The longest edge is resized, and the image is cut into tiles; a small copy follows.

    Idefics3 and SmolVLM (transformers, models/idefics3/image_processing_idefics3.py and
    processing_idefics3.py; the same in models/smolvlm). Each tile has two markers, each row of
    tiles ends with a line break, and three markers belong to the small copy.

    Attributes:
        per_tile: Features of a tile.
        tile: Pixels along a side of a tile.
        longest: Pixels of the longer side before cutting; None keeps the image's size.
        splits: Whether images are cut; else the model sees only the small copy.
    """

    per_tile: int
    tile: int
    longest: int | None
    splits: bool = True

    def count(self, width: int, height: int) -> Count:
        """See `TokenRule`."""
        rows, columns = self._grid(width, height)
        tiles = rows * columns
        return Count(self.per_tile * (tiles + 1), 2 * tiles + rows + 3, tiles + 1)

    def maximum(self) -> Count:
        """See `TokenRule`."""
        longest = min(self.longest or _LONGEST_SIDE, _LONGEST_SIDE)
        longest += longest % 2  # the other side of a square is rounded up to this
        side = math.ceil(longest / self.tile) if self.splits else 0
        tiles = side**2
        return Count(self.per_tile * (tiles + 1), 2 * tiles + side + 3, tiles + 1)

    def describe(self) -> str:
        """See `TokenRule`."""
        if not self.splits:
            return "the same for every image"
        size = f"{self.longest} px" if self.longest else "its own size"
        return f"longest side to {size}, {self.per_tile} per {self.tile} px tile and a small copy"

    def _grid(self, width: int, height: int) -> tuple[int, int]:
        """Rows and columns of tiles; (0, 0) if the image fits into one tile."""
        if not self.splits:
            return 0, 0
        if self.longest is not None:
            width, height = _to_longest(width, height, self.longest)
        width, height = _within(width, height)
        aspect = width / height
        if width >= height:
            columns = math.ceil(width / self.tile)
            rows = math.ceil(int(columns * self.tile / aspect) / self.tile)
        else:
            rows = math.ceil(height / self.tile)
            columns = math.ceil(int(rows * self.tile * aspect) / self.tile)
        return (rows, columns) if rows > 1 or columns > 1 else (0, 0)


_LONGEST_SIDE = 4096
"""No side is longer after resizing: MAX_IMAGE_SIZE of Idefics3's processor."""


def _to_longest(width: int, height: int, longest: int) -> tuple[int, int]:
    """Scales the longest side to a length; the other is rounded down, then up to an even number."""
    aspect = width / height
    if width >= height:
        other = int(longest / aspect)
        return longest, max(other + other % 2, 1)
    other = int(longest * aspect)
    return max(other + other % 2, 1), longest


def _within(width: int, height: int) -> tuple[int, int]:
    aspect = width / height
    if width >= height and width > _LONGEST_SIDE:
        return _LONGEST_SIDE, max(int(_LONGEST_SIDE / aspect), 1)
    if height > width and height > _LONGEST_SIDE:
        return max(int(_LONGEST_SIDE * aspect), 1), _LONGEST_SIDE
    return width, height


@dataclass(frozen=True, slots=True)
class Tiling:
    """The grid of tiles with the closest aspect ratio; if it has several, a small copy follows.

    InternVL (transformers, `get_optimal_tiled_canvas` in
    models/got_ocr2/image_processing_got_ocr2.py; models/internvl/processing_internvl.py). Two
    markers surround the image.

    Attributes:
        per_tile: Features of a tile.
        tile: Pixels along a side of a tile.
        minimum: Minimum number of tiles of a grid.
        max_tiles: Maximum number of tiles of a grid.
        copy: Whether a small copy follows.
    """

    per_tile: int
    tile: int
    minimum: int
    max_tiles: int
    copy: bool = True

    def count(self, width: int, height: int) -> Count:
        """See `TokenRule`."""
        columns, rows = self._grid(width, height)
        return self._of(columns * rows)

    def maximum(self) -> Count:
        """See `TokenRule`."""
        return self._of(self.max_tiles)

    def describe(self) -> str:
        """See `TokenRule`."""
        return f"{self.per_tile} per {self.tile} px tile, up to {self.max_tiles} and a small copy"

    def _of(self, tiles: int) -> Count:
        parts = tiles + (self.copy and tiles > 1)
        return Count(self.per_tile * parts, markers=2, parts=parts)

    def _grid(self, width: int, height: int) -> tuple[int, int]:
        """Columns and rows with the closest aspect ratio; of equals, the largest half full."""
        aspect, best, nearest = width / height, (1, 1), math.inf
        for columns, rows in self._grids():
            distance = abs(aspect - columns / rows)
            half = self.tile**2 * columns * rows / 2
            if distance < nearest or (distance == nearest and width * height > half):
                best, nearest = (columns, rows), distance
        return best

    def _grids(self) -> list[tuple[int, int]]:
        grids = [
            (columns, rows)
            for columns in range(1, self.max_tiles + 1)
            for rows in range(1, self.max_tiles // columns + 1)
            if columns * rows >= self.minimum
        ]
        return sorted(grids, key=lambda grid: grid[0] * grid[1])
