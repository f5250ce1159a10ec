"""Drops cells of an image that repeat a neighbour, before the vision tower sees them.

A cell is what takes one token: the patches that the tower merges. One whose pixels are exactly
those of the cell on its left or above is dropped, so that what is left, with the positions, still
says what every pixel was (PixelPrune, arXiv 2604.00886, with the threshold 0).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from silkline.engines.torch.families.base import PreparedImage

CELLS = "cells"
"""Name of the tensor with the indices of an image's cells that stay, int64 `[cells]`."""

_POSITIONS = ("rot_pos_emb", "fast_pos_embed_interpolate")
"""Methods of Qwen's towers that compute a row for each patch of a grid."""


def staying_cells(cells: torch.Tensor, columns: int) -> torch.Tensor:
    """Indices of the cells that repeat neither the left nor the upper neighbour; sorted.

    Args:
        cells: The pixels of each cell, row by row, `[rows * columns, pixels]`.
        columns: Cells in a row.
    """
    grid = cells.reshape(-1, columns, cells.shape[1])
    repeated = torch.zeros(grid.shape[:2], dtype=torch.bool)
    repeated[:, 1:] |= (grid[:, 1:] == grid[:, :-1]).all(2)
    repeated[1:] |= (grid[1:] == grid[:-1]).all(2)
    return (~repeated.flatten()).nonzero().squeeze(1)


def all_cells(
    ids: torch.Tensor,
    is_image: torch.Tensor,
    images: Sequence[PreparedImage],
    counts: Sequence[int],
) -> tuple[torch.Tensor, torch.Tensor]:
    """A prompt as it would be with a token for every cell.

    Args:
        ids: The prompt's tokens, with one for each cell that stays.
        is_image: Which are image tokens.
        images: The images.
        counts: How many cells each has.

    Returns:
        Its tokens, and the index in it of each of `ids`.
    """
    times = torch.ones_like(ids)
    offsets = torch.zeros_like(ids)
    sizes = [image.features for image in images]
    places = torch.split(is_image.nonzero().squeeze(1), sizes)
    for image, own, count in zip(images, places, counts, strict=True):
        times[own[0]] += count - len(own)
        offsets[own] += image.tensors[CELLS] - torch.arange(len(own))
        offsets[own[-1] + 1 :] += count - len(own)
    return ids.repeat_interleave(times), torch.arange(len(ids)) + offsets


@contextmanager
def only_cells(
    tower: Any, grids: torch.Tensor, images: Sequence[PreparedImage], unit: int
) -> Iterator[torch.Tensor]:
    """Has a tower compute the positions of the patches that stay.

    Only the stepping thread runs the tower, so its methods may be replaced for a call.

    Args:
        tower: The tower.
        grids: The whole grids, int64 `[images, 3]`.
        images: The images, whose pixels are those of the cells that stay.
        unit: Patches of a cell.

    Yields:
        Grids of as many patches as stay, in one row, to call the tower with.
    """
    sizes, starts = grids.prod(1).tolist(), [0]
    for size in sizes[:-1]:
        starts.append(starts[-1] + size)
    patches = torch.cat(
        [
            (image.tensors[CELLS][:, None] * unit + torch.arange(unit)).flatten() + start
            for image, start in zip(images, starts, strict=True)
        ]
    ).to(grids.device)
    names = [name for name in _POSITIONS if hasattr(tower, name)]
    rows = {name: getattr(tower, name)(grids)[patches] for name in names}
    left = torch.tensor([[1, 1, image.features * unit] for image in images], device=grids.device)
    for name in names:
        setattr(tower, name, lambda _, own=rows[name]: own)
    try:
        yield left
    finally:
        for name in names:
            delattr(tower, name)
