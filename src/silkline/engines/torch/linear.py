"""Runs linear layers on the CPU with oneDNN, with weights packed into its layout once.

For float32, torch uses another library and repacks the weights in each call. oneDNN's own layout,
made once at load, is two to three times as fast for the shapes of common models, but slower for
very small ones. So both ways are timed for each shape at load, and the faster one is used.

The operators are the ones that torch's own compiler uses for frozen weights.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable

import torch
from torch import nn

from silkline.engines.processor import features

_TRIAL_SECONDS = 1.0
"""Time budget of all trials, largest layers first; layers not reached stay unchanged."""

_TRIALS = 5
"""Timed runs of each way after a warm-up run; the fastest counts."""

_TRIAL_ROWS = 64
"""Rows of a prompt chunk in a trial; few, as large layers are slow."""


class PackedLinear(nn.Module):
    """A linear layer whose weight is packed into oneDNN's layout."""

    def __init__(self, plain: nn.Linear, rows: int) -> None:
        """Packs a layer's weight.

        Args:
            plain: The layer.
            rows: Number of input rows to optimize for.
        """
        super().__init__()
        self.in_features, self.out_features = plain.in_features, plain.out_features
        self.bias = plain.bias
        self._packed = torch.ops.mkldnn._reorder_linear_weight(plain.weight.detach(), rows)  # noqa: SLF001

    @property
    def weight(self) -> torch.Tensor:
        """A copy of the weight `[out, in]` in the dense layout, for code that inspects it."""
        dense: torch.Tensor = self._packed.to_dense()
        return dense

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Applies the layer: `[..., in]` to `[..., out]`."""
        out: torch.Tensor = torch.ops.mkldnn._linear_pointwise(  # noqa: SLF001
            rows, self._packed, self.bias, "none", [], ""
        )
        return out


def pack_linears(model: nn.Module, *, batch: int) -> int:
    """Packs the linear layers of a model on the CPU whose packed form is faster.

    Args:
        model: The model, whose layers are replaced in place. Only weights that other layers share
            are in memory twice afterwards.
        batch: Rows of a full batch of next tokens.

    Returns:
        The number of replaced layers.
    """
    types = packable_types()
    by_shape: dict[tuple[object, ...], list[tuple[nn.Module, str, nn.Linear]]] = defaultdict(list)
    for parent in model.modules():
        for name, child in parent.named_children():
            if type(child) is nn.Linear and _is_packable(child.weight, types):
                kind = (child.weight.shape, child.weight.dtype, child.bias is None)
                by_shape[kind].append((parent, name, child))
    largest = sorted(by_shape.values(), key=lambda group: -len(group) * group[0][2].weight.numel())
    deadline = time.perf_counter() + _TRIAL_SECONDS
    replaced = 0
    with torch.inference_mode():
        for group in largest:
            if time.perf_counter() > deadline:
                break
            if not _is_packed_faster(group[0][2], batch):
                continue
            replaced += len(group)
            while group:  # popped one by one, so that each dense weight is freed at once
                parent, name, plain = group.pop()
                setattr(parent, name, PackedLinear(plain, batch))
    return replaced


def packable_types() -> frozenset[torch.dtype]:
    """Returns the types of weights that oneDNN can multiply on this processor.

    bfloat16 needs AVX-512 or newer: torch refuses it elsewhere, and oneDNN refuses it if its
    instruction set is limited by the environment. float16 is left to torch.
    """
    if not hasattr(torch.ops.mkldnn, "_reorder_linear_weight"):
        return frozenset()
    types = {torch.float32}
    if torch.ops.mkldnn._is_mkldnn_bf16_supported() and "avx512bw" in features():  # noqa: SLF001
        types.add(torch.bfloat16)
    return frozenset(types)


def _is_packable(weight: torch.Tensor, types: frozenset[torch.dtype]) -> bool:
    return weight.device.type == "cpu" and weight.dtype in types and weight.numel() > 0


def _is_packed_faster(plain: nn.Linear, batch: int) -> bool:
    """Whether the packed layer takes less time for a batch of next tokens plus a prompt chunk."""
    ways = (plain, PackedLinear(plain, batch))
    seconds = [0.0, 0.0]
    for count in (batch, _TRIAL_ROWS):
        rows = torch.zeros(count, plain.in_features, dtype=plain.weight.dtype)
        # Alternating, so that other load on the machine affects both.
        trials = [[_seconds(way, rows) for way in ways] for _ in range(1 + _TRIALS)]
        for way, durations in enumerate(zip(*trials[1:], strict=True)):
            seconds[way] += min(durations)
    return seconds[1] < seconds[0]


def _seconds(layer: Callable[[torch.Tensor], torch.Tensor], rows: torch.Tensor) -> float:
    began = time.perf_counter()
    layer(rows)
    return time.perf_counter() - began
