"""The optimiser Muon: momentum whose matrices are orthogonalised before each update.

`torch.optim.Muon` iterates in bfloat16, which takes seconds a step on processors without such
instructions; here it is float32 on the CPU.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

_STEPS = 5
_A, _B, _C = 3.4445, -4.7750, 2.0315
"""The quintic iteration of Muon's authors: it brings all singular values near 1."""


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum and decoupled weight decay, for matrices only."""

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        *,
        lr: float,
        weight_decay: float,
        momentum: float = 0.95,
    ) -> None:
        """Takes groups of matrices, as every optimiser of torch does."""
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        """Updates all matrices that have a gradient."""
        for group in self.param_groups:
            momentum: float = group["momentum"]
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                state = self.state[matrix]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(matrix)
                mean: Tensor = state["momentum_buffer"]
                mean.lerp_(matrix.grad, 1 - momentum)
                update = orthogonal(matrix.grad.lerp(mean, momentum))
                height, width = matrix.shape
                rate: float = group["lr"]
                matrix.mul_(1 - rate * group["weight_decay"])
                matrix.add_(update, alpha=-rate * max(1.0, height / width) ** 0.5)


def orthogonal(matrix: Tensor) -> Tensor:
    """Returns the nearest matrix whose singular values are all about 1 (0.7 to 1.2)."""
    found = matrix.bfloat16() if matrix.is_cuda else matrix.float()
    tall = found.shape[0] > found.shape[1]
    found = found.T if tall else found
    found = found / found.norm().clamp(min=1e-7)
    for _ in range(_STEPS):
        gram = found @ found.T
        found = _A * found + (_B * gram + _C * gram @ gram) @ found
    turned: torch.Tensor = found.T if tall else found
    return turned.to(matrix.dtype)
