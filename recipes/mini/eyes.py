"""Stage one, the eyes: the vision tower learns from labels before it ever meets the decoder.

Every patch predicts which category covers it; the mean of the patches predicts the global
attributes. The heads are thrown away afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recipes.mini.dataset import Pool
from recipes.mini.eyes_targets import HEADS, targets
from recipes.mini.vocabulary import CATEGORIES

_WEIGHTS = {"category": 1.0, "colour": 0.7, "pattern": 0.5, "count": 0.3, "background": 0.2,
            "label": 0.5, "tens": 1.5, "ones": 1.5}  # fmt: skip


class EyesHeads(nn.Module):
    """Throw-away heads over the patch features of the tower."""

    def __init__(self, width: int) -> None:
        """Create the heads for features of ``width`` channels."""
        super().__init__()
        self.norm_dense = nn.LayerNorm(width)
        self.dense_head = nn.Linear(width, len(CATEGORIES) + 1)
        self.norms_head = nn.ModuleDict({name: nn.LayerNorm(width) for name in HEADS})
        self.score_head = nn.ModuleDict({name: nn.Linear(width, 1) for name in HEADS})
        self.global_head = nn.ModuleDict({name: nn.Linear(width, n) for name, n in HEADS.items()})

    def forward(self, patches: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Map (batch, 64, width) to patch logits (batch, 64, 25) and logits by attribute."""
        dense = self.dense_head(self.norm_dense(patches))
        logits = {}
        for name in HEADS:
            normed = self.norms_head[name](patches)
            share = self.score_head[name](normed).softmax(dim=1)
            logits[name] = self.global_head[name]((normed * share).sum(1))
        return dense, logits


@dataclass(frozen=True)
class Batch:
    """Pixels (n, 3, 96, 96) float32 in [-1, 1], patch shares (n, 64), targets (n, heads)."""

    pixels: Tensor
    coverage: Tensor
    truth: Tensor


class Sampler:
    """Random batches with cheap augmentation from a pool."""

    def __init__(self, pool: Pool, device: torch.device, seed: int) -> None:
        """Keep the pool mapped; ``seed`` fixes the order."""
        self.pool = pool
        self._device = device
        self._rng = np.random.default_rng(seed)
        self._truth = torch.tensor([targets(scene) for scene in pool.scenes])
        self._mirror = np.asarray([scene.label is None for scene in pool.scenes])

    def indices(self, size: int) -> NDArray[np.intp]:
        """Draw ``size`` pictures of the pool, sorted for the disk's sake."""
        return np.sort(self._rng.choice(len(self.pool.scenes), size, replace=False))

    def batch(self, indices: NDArray[np.intp], *, augment: bool = True) -> Batch:
        """Assemble the pictures at ``indices``, flipped and brightened at random if asked."""
        pixels = torch.from_numpy(self.pool.pictures[indices]).permute(0, 3, 1, 2).float()
        pixels = pixels.div_(127.5).sub_(1.0)
        coverage = torch.from_numpy(self.pool.coverage[indices]).float().div_(255.0)
        if augment:
            n = len(indices)
            chosen = torch.from_numpy((self._rng.random(n) < 0.5) & self._mirror[indices])
            pixels[chosen] = pixels[chosen].flip(3)
            coverage[chosen] = coverage[chosen].flip(2)
            gain = torch.from_numpy(self._rng.uniform(0.94, 1.06, (n, 1, 1, 1)).astype(np.float32))
            shift = torch.from_numpy(
                self._rng.uniform(-0.04, 0.04, (n, 3, 1, 1)).astype(np.float32)
            )
            pixels = pixels.mul_(gain).add_(shift).clamp_(-1.0, 1.0)
        d = self._device
        return Batch(pixels.to(d), coverage.flatten(1).to(d), self._truth[indices].to(d))


def patch_features(tower: Callable[..., Any], pixels: Tensor) -> Tensor:
    """Return what the projector sees: (batch, 64, width), without the class token."""
    hidden: Tensor = tower(pixel_values=pixels).last_hidden_state
    return hidden[:, 1:]


def eyes_loss(dense: Tensor, logits: dict[str, Tensor], batch: Batch) -> Tensor:
    """Return the weighted sum of the patch loss and the attribute losses."""
    covered, kind = batch.coverage, batch.truth[:, :1].expand_as(batch.coverage)
    log_p = dense.log_softmax(-1)
    item = log_p.gather(-1, (kind + 1).unsqueeze(-1)).squeeze(-1)
    total = -(covered * item + (1 - covered) * log_p[..., 0]).mean()
    for column, (name, scores) in enumerate(logits.items()):
        total = total + _WEIGHTS[name] * nn.functional.cross_entropy(
            scores, batch.truth[:, column], label_smoothing=0.02
        )
    return total


@torch.no_grad()
def eyes_accuracy(
    tower: Callable[..., Any], heads: Callable[..., Any], sampler: Sampler, count: int = 1000
) -> dict[str, float]:
    """Return accuracy by attribute on the first ``count`` pictures of the sampler's pool."""
    hits, both = torch.zeros(len(HEADS)), 0.0
    for start in range(0, count, 100):
        batch = sampler.batch(np.arange(start, start + 100), augment=False)
        _, logits = heads(patch_features(tower, batch.pixels))
        right = torch.stack([scores.argmax(-1) for scores in logits.values()], 1) == batch.truth
        hits += right.float().sum(0).cpu()
        both += float((right[:, 0] & right[:, 1]).float().sum())
    result = {name: float(hits[i]) / count for i, name in enumerate(HEADS)}
    return {**result, "both": both / count}
