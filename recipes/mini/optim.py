"""Optimiser, schedule and small training helpers."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass
class HybridOptimizer:
    """Muon for hidden matrices, AdamW for embeddings, norms, biases and heads.

    Learning rates follow a linear warm-up and a cosine descent.
    """

    parts: list[torch.optim.Optimizer]
    peaks: list[list[float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Remember the peak rate of every group."""
        self.peaks = [[float(g["lr"]) for g in part.param_groups] for part in self.parts]

    def set_progress(self, progress: float, floor: float = 0.02, warm_up: float = 0.02) -> None:
        """Set all learning rates for ``progress`` in 0..1; they end at ``floor`` of the peak."""
        if progress < warm_up:
            factor = max(progress / warm_up, 0.02)
        else:
            wave = 0.5 * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up)))
            factor = floor + (1 - floor) * wave
        for part, peaks in zip(self.parts, self.peaks, strict=True):
            for group, peak in zip(part.param_groups, peaks, strict=True):
                group["lr"] = peak * factor

    def step(self) -> None:
        """Update all parameters and clear the gradients."""
        for part in self.parts:
            part.step()
            part.zero_grad(set_to_none=True)


@dataclass(frozen=True)
class Rates:
    """Peak learning rates."""

    muon: float = 0.02
    adam: float = 2e-3
    weight_decay: float = 0.02


def hybrid(
    groups: Iterable[tuple[nn.Module, float]], rates: Rates, *, muon: bool = True
) -> HybridOptimizer:
    """Build the optimiser over modules, each with a factor on its learning rates."""
    matrices: list[dict[str, object]] = []
    others: list[dict[str, object]] = []
    for module, factor in groups:
        hidden, rest = split_parameters(module)
        if not muon:
            rest, hidden = rest + hidden, []
        if hidden:
            matrices.append({"params": hidden, "lr": rates.muon * factor})
        others.append({"params": rest, "lr": rates.adam * factor})
    parts: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(others, lr=rates.adam, betas=(0.9, 0.98), weight_decay=rates.weight_decay)
    ]
    if matrices:
        parts.append(
            torch.optim.Muon(
                matrices,
                lr=rates.muon,
                weight_decay=rates.weight_decay,
                momentum=0.95,
                nesterov=True,
                adjust_lr_fn="original",
                ns_steps=5,
            )
        )
    return HybridOptimizer(parts)


def split_parameters(module: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return (hidden matrices, everything else) of the trainable parameters."""
    hidden: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        outer = "embed" in name or "head" in name
        (hidden if parameter.ndim == 2 and not outer else rest).append(parameter)
    return hidden, rest


class Ema:
    """Exponential moving average of the weights of a module."""

    def __init__(self, module: nn.Module, horizon: int) -> None:
        """Start at the current weights; ``horizon`` is the averaging length in steps."""
        self._decay = 1.0 - 1.0 / horizon
        self.weights = {k: v.detach().clone() for k, v in module.state_dict().items()}
        self._steps = 0

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move the average towards the weights of ``module``."""
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        for key, value in module.state_dict().items():
            mean: Tensor = self.weights[key]
            if mean.is_floating_point():
                mean.lerp_(value, 1.0 - decay)


class Meter:
    """Progress by wall clock: a stage ends when its time is used up."""

    def __init__(self, seconds: float, already: float = 0.0) -> None:
        """``already`` seconds of the budget were used before a resume."""
        self._start = time.monotonic() - already
        self._seconds = seconds

    @property
    def elapsed(self) -> float:
        """Seconds used so far."""
        return time.monotonic() - self._start

    @property
    def progress(self) -> float:
        """Share of the budget used, at most 1."""
        return min(self.elapsed / self._seconds, 1.0)

    @property
    def left(self) -> float:
        """Seconds left."""
        return max(self._seconds - self.elapsed, 0.0)
