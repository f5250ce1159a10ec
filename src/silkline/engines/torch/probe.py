"""Probes how the torch engine handles a request, from its pixels to its logits."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from silkline.core import Request
from silkline.engines.probe import Showing
from silkline.engines.torch.families.base import PreparedImage

if TYPE_CHECKING:
    from silkline.engines.torch.engine import TorchEngine

_PIXELS = "pixel_values"
_PATCH_DIMENSIONS, _TILE_DIMENSIONS = 2, 4


class TorchProber:
    """Shows how a torch engine handles requests; see `silkline.engines.probe.Prober`."""

    def __init__(self, engine: TorchEngine) -> None:
        """Wraps a started engine."""
        self._engine = engine

    async def show(self, request: Request) -> Showing:
        """See `Prober`."""
        first = replace(request, sampling=replace(request.sampling, max_tokens=1))
        served, usage = "", None
        async for delta in self._engine.generate(first):
            served, usage = served + delta.text, delta.usage or usage
        logits = await self._engine.first_logits(first)
        family = self._engine.family
        prompt = await asyncio.to_thread(family.prepare, first.messages, first.images)
        return Showing(
            pixels=_joined(prompt.images),
            prompt_ids=tuple(prompt.ids.tolist()),
            usage=usage,
            logits=logits.float().cpu().numpy(),
            served=served,
        )

    async def aclose(self) -> None:
        """See `Prober`."""


def _joined(images: Sequence[PreparedImage]) -> NDArray[np.float32]:
    """Returns all tiles, or all patches, of all images in order."""
    return torch.cat([_rows(image.tensors[_PIXELS]) for image in images]).float().cpu().numpy()


def _rows(pixels: torch.Tensor) -> torch.Tensor:
    if pixels.ndim == _PATCH_DIMENSIONS:
        return pixels
    return pixels.reshape(-1, *pixels.shape[1 - _TILE_DIMENSIONS :])
