"""Linear layers on the CPU through oneDNN, with weights laid out for it once.

Torch multiplies float32 matrices by another library, for which it lays the weights out anew in each
call. oneDNN's own layout, made once at load, is two to three times as fast for the shapes of usual
models, and slower for very small ones: so each shape is tried at load, and keeps what won.

The operators are those that torch's own compiler uses for frozen weights.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable

import torch
from torch import nn

from silkline.engines.processor import features

_TRIAL_SECONDS = 1.0
"""Time for all trials; shapes that it does not reach, smallest last, stay as they are."""

_TRIALS = 5
"""Runs of each way after a first one; the fastest counts."""

_TRIAL_ROWS = 64
"""Rows of a trial, besides those of a full batch; few, as large layers take their time."""


class PackedLinear(nn.Module):
    """A linear layer whose weight lies in oneDNN's layout."""

    def __init__(self, plain: nn.Linear, rows: int) -> None:
        """Lays a weight out.

        Args:
            plain: The layer.
            rows: Rows that it will usually be given.
        """
        super().__init__()
        self.in_features, self.out_features = plain.in_features, plain.out_features
        self.bias = plain.bias
        self._packed = torch.ops.mkldnn._reorder_linear_weight(plain.weight.detach(), rows)  # noqa: SLF001

    @property
    def weight(self) -> torch.Tensor:
        """The weight `[out, in]` in the usual layout; a copy, for code that looks at it."""
        dense: torch.Tensor = self._packed.to_dense()
        return dense

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """`[..., in]` to `[..., out]`."""
        out: torch.Tensor = torch.ops.mkldnn._linear_pointwise(  # noqa: SLF001
            rows, self._packed, self.bias, "none", [], ""
        )
        return out


def pack_linears(model: nn.Module, *, batch: int) -> int:
    """Replaces the linear layers of a model on the CPU where the other way is faster.

    Args:
        model: Its layers are replaced in place; their weights are not held twice, but for those
            that other layers share.
        batch: Rows of a full batch of next tokens.

    Returns:
        How many layers were replaced.
    """
    types = packable_types()
    by_shape: dict[tuple[object, ...], list[tuple[nn.Module, str, nn.Linear]]] = defaultdict(list)
    for parent in model.modules():
        for name, child in parent.named_children():
            if type(child) is nn.Linear and _is_packable(child.weight, types):
                kind = (child.weight.shape, child.weight.dtype, child.bias is None)
                by_shape[kind].append((parent, name, child))
    heaviest = sorted(by_shape.values(), key=lambda same: -len(same) * same[0][2].weight.numel())
    deadline = time.perf_counter() + _TRIAL_SECONDS
    replaced = 0
    with torch.inference_mode():
        for same in heaviest:
            if time.perf_counter() > deadline:
                break
            if not _packed_wins(same[0][2], batch):
                continue
            replaced += len(same)
            while same:  # let go of each plain weight at once
                parent, name, plain = same.pop()
                setattr(parent, name, PackedLinear(plain, batch))
    return replaced


def packable_types() -> frozenset[torch.dtype]:
    """Types of weights that oneDNN multiplies on this processor, within what it may use.

    bfloat16 takes AVX-512 or newer; torch refuses it elsewhere, and so does oneDNN when its
    instruction set is limited. float16 is left to torch.
    """
    if not hasattr(torch.ops.mkldnn, "_reorder_linear_weight"):
        return frozenset()
    types = {torch.float32}
    if torch.ops.mkldnn._is_mkldnn_bf16_supported() and "avx512bw" in features():  # noqa: SLF001
        types.add(torch.bfloat16)
    return frozenset(types)


def _is_packable(weight: torch.Tensor, types: frozenset[torch.dtype]) -> bool:
    return weight.device.type == "cpu" and weight.dtype in types and weight.numel() > 0


def _packed_wins(plain: nn.Linear, batch: int) -> bool:
    """Whether the packed layer takes less time for a batch of next tokens and a piece of prompt."""
    ways = (plain, PackedLinear(plain, batch))
    seconds = [0.0, 0.0]
    for count in (batch, _TRIAL_ROWS):
        rows = torch.zeros(count, plain.in_features, dtype=plain.weight.dtype)
        # In turns, so that a moment in which the machine is busy meets both.
        trials = [[_seconds(way, rows) for way in ways] for _ in range(1 + _TRIALS)]
        for number, spent in enumerate(zip(*trials[1:], strict=True)):
            seconds[number] += min(spent)
    return seconds[1] < seconds[0]


def _seconds(layer: Callable[[torch.Tensor], torch.Tensor], rows: torch.Tensor) -> float:
    began = time.perf_counter()
    layer(rows)
    return time.perf_counter() - began
