"""Converts images and features between Pillow, transformers and the engine."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import PIL.Image
import torch

from silkline.core import Image
from silkline.engines.torch.families.base import PreparedImage


def prepared_image(tensors: Mapping[str, torch.Tensor], tokens: int) -> PreparedImage:
    """Makes the tensors contiguous and computes their digest."""
    compact = {name: tensor.contiguous() for name, tensor in sorted(tensors.items())}
    digest = hashlib.blake2b(digest_size=32)
    for name, tensor in compact.items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.numpy().data)
    return PreparedImage(compact, tokens, tokens, digest.digest())


def features_of(result: Any) -> Any:
    """Unwraps the result of `get_image_features`: transformers 5 wraps it, 4 does not."""
    return getattr(result, "pooler_output", result)


def widened(rows: torch.Tensor, width: int) -> torch.Tensor:
    """Appends columns of zeros to rows `[T, ...]` that have fewer than `width`."""
    missing = width - rows.shape[1]
    return torch.nn.functional.pad(rows, (0, missing)) if missing else rows


def as_pillow(image: Image) -> PIL.Image.Image:
    """Converts an image to Pillow's class, which the image processors take."""
    return PIL.Image.frombytes("RGB", (image.width, image.height), image.pixels)


def joined(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Concatenates inputs of the text model `[T, width]`, widened to the widest."""
    width = max(part.shape[1] for part in parts)
    return torch.cat([widened(part, width) for part in parts])


def runs(ids: torch.Tensor, token: int) -> tuple[tuple[int, int], ...]:
    """Returns the ranges `[start, end)` that consist of one token."""
    is_token = torch.nn.functional.pad((ids == token).to(torch.int8), (1, 1))
    change = is_token.diff()
    starts, ends = (change == 1).nonzero().squeeze(1), (change == -1).nonzero().squeeze(1)
    return tuple(zip(starts.tolist(), ends.tolist(), strict=True))
