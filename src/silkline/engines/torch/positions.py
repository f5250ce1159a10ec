"""Interpolates the position embeddings of a vision tower, for smaller images."""

from __future__ import annotations

import torch


def interpolated(rows: torch.Tensor, before: int, after: int) -> torch.Tensor:
    """Scales a grid of embeddings bicubically; rows before it, such as a class token's, stay.

    Args:
        rows: The embeddings, `[1 or 0 + before * before, width]`.
        before: Patches along a side of the images.
        after: Those of the smaller images.
    """
    first = len(rows) - before**2
    grid = rows[first:].float().T.reshape(1, -1, before, before)
    scaled = torch.nn.functional.interpolate(
        grid, size=(after, after), mode="bicubic", antialias=True
    )
    patches = scaled[0].flatten(1).T.to(rows.dtype)
    return torch.cat((rows[:first], patches)).contiguous()
