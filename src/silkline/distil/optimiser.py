"""The optimiser: Muon for hidden matrices, AdamW for the rest, with a cosine schedule."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from silkline.distil.muon import Muon
from silkline.errors import ConfigError

_BETAS = (0.9, 0.98)


@dataclass(frozen=True, slots=True)
class Rates:
    """Peak learning rates, and the weight decay of all parameters."""

    muon: float = 0.02
    adam: float = 2e-3
    weight_decay: float = 0.02


class HybridOptimizer:
    """Several optimisers as one; their rates follow a warm-up and a cosine descent."""

    def __init__(self, parts: list[torch.optim.Optimizer]) -> None:
        """Takes the optimisers; the rates that they have now are the peaks."""
        self._parts = parts
        self._peaks = [[float(group["lr"]) for group in part.param_groups] for part in parts]

    def set_progress(self, progress: float, floor: float = 0.02, warm_up: float = 0.02) -> None:
        """Sets all learning rates for a progress of 0 to 1; they end at `floor` of the peak."""
        if progress < warm_up:
            factor = max(progress / warm_up, 0.02)
        else:
            wave = 0.5 * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up)))
            factor = floor + (1 - floor) * wave
        for part, peaks in zip(self._parts, self._peaks, strict=True):
            for group, peak in zip(part.param_groups, peaks, strict=True):
                group["lr"] = peak * factor

    def step(self) -> None:
        """Updates all parameters and clears the gradients."""
        for part in self._parts:
            part.step()
            part.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, Tensor]:
        """Returns the state by name, as `load` takes it."""
        return {
            f"{number}.{index}.{name}": value
            for number, part in enumerate(self._parts)
            for index, state in part.state_dict()["state"].items()
            for name, value in state.items()
        }

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Sets the state.

        Raises:
            ConfigError: It is of other parameters.
        """
        states: list[dict[int, dict[str, Tensor]]] = [{} for _ in self._parts]
        try:
            for key, value in tensors.items():
                number, index, name = key.split(".")
                states[int(number)].setdefault(int(index), {})[name] = value
            for part, state in zip(self._parts, states, strict=True):
                groups = part.state_dict()["param_groups"]
                part.load_state_dict({"state": state, "param_groups": groups})
        except (ValueError, IndexError) as error:
            raise ConfigError(
                "The checkpoint is of another model. Choose another folder."
            ) from error


def hybrid(
    groups: Iterable[tuple[nn.Module, float]], rates: Rates, *, muon: bool = True
) -> HybridOptimizer:
    """Creates the optimiser of modules, each with a factor on its learning rates."""
    matrices: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    for module, factor in groups:
        hidden, rest = split_parameters(module)
        if not muon:
            rest, hidden = rest + hidden, []
        if hidden:
            matrices.append({"params": hidden, "lr": rates.muon * factor})
        others.append({"params": rest, "lr": rates.adam * factor})
    parts: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(others, lr=rates.adam, betas=_BETAS, weight_decay=rates.weight_decay)
    ]
    if matrices:
        parts.append(Muon(matrices, lr=rates.muon, weight_decay=rates.weight_decay))
    return HybridOptimizer(parts)


def split_parameters(module: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Returns the hidden matrices, and all other trainable parameters."""
    hidden: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        outer = "embed" in name or "head" in name
        (hidden if parameter.ndim == 2 and not outer else rest).append(parameter)  # noqa: PLR2004
    return hidden, rest


class Ema:
    """Moving average of the weights of a module."""

    def __init__(self, module: nn.Module, horizon: int) -> None:
        """Starts at the weights that the module has now; `horizon` is its length in steps."""
        self._decay = 1.0 - 1.0 / horizon
        self.weights = {k: v.detach().clone() for k, v in module.state_dict().items()}
        self._steps = 0

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Moves the average towards the weights that the module has now."""
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        for key, value in module.state_dict().items():
            mean = self.weights[key]
            if mean.is_floating_point():
                mean.lerp_(value, 1.0 - decay)

    def load(self, weights: dict[str, Tensor], steps: int) -> None:
        """Sets the average and the number of its updates."""
        self.weights = weights
        self._steps = steps
