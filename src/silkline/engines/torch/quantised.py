"""Computes linear layers with quantised weights, each shape in the fastest way that is right.

Which kernel is fast depends on the device, the processor and the build of torch, and on x86 without
VNNI oneDNN's clips sums. So every way is tried for each shape when the model is loaded: one that
fails, or whose result differs from that of plain numbers, is not used. The plain way, which turns
the weights into numbers once, always works; where nothing else is faster, quantised weights take
the time and the memory of others.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Mapping

import torch
from torch import nn

from silkline.engines.torch.compressed import CompressedLinear

logger = logging.getLogger("silkline.engines.torch")

_TRIALS = 5
"""Timed runs of each way after a warm-up run; the fastest counts."""

_PROMPT_ROWS = 64
"""Rows of a prompt chunk in a trial; few, as large layers are slow."""

_TOLERANCE = 0.02
"""Share of the largest output by which a way may differ: rounding of a type, no clipped sums."""

_LARGEST_FLOAT = torch.finfo(torch.float8_e4m3fn).max
_LARGEST_INTEGER = 127

_FEWEST_ROWS = 17
"""Rows that CUDA's product of INT8 matrices needs at least."""


Way = Callable[[torch.Tensor], torch.Tensor]
"""Multiplies rows `[n, in]` with a layer's weights; the bias is added by the layer."""

MakeWay = Callable[[CompressedLinear, torch.dtype], Way]


def plain(layer: CompressedLinear, dtype: torch.dtype) -> Way:
    """Weights as plain numbers; inputs are rounded as the scheme says, so results are the same."""
    weight, scheme = layer.dense(dtype), layer.scheme

    def multiply(rows: torch.Tensor) -> torch.Tensor:
        if scheme.activations:
            levels, scales = _inputs(rows, floats=scheme.kind == "float")
            rows = (levels.float() * scales).to(rows.dtype)
        return nn.functional.linear(rows, weight)

    return multiply


def onednn(layer: CompressedLinear, dtype: torch.dtype) -> Way:
    """INT8 inputs and weights, by oneDNN."""
    del dtype
    packed = torch.ops.onednn.qlinear_prepack(layer.levels(), None)
    zeros = torch.zeros(layer.out_features, dtype=torch.int32)
    of_weights = layer.weight_scale.flatten().float()
    as_floats: tuple[object, ...] = (None, 1.0, 0, torch.float32, "none", [], "")

    def multiply(rows: torch.Tensor) -> torch.Tensor:
        levels, scales = _inputs(rows)
        out: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
            levels, 1.0, 0, packed, of_weights, zeros, *as_floats
        )
        return (out * scales).to(rows.dtype)

    return multiply


def integer_product(layer: CompressedLinear, dtype: torch.dtype) -> Way:
    """INT8 inputs and weights, by torch's product of integers."""
    del dtype
    weight, of_weights = layer.levels().t(), layer.weight_scale.flatten().float()

    def multiply(rows: torch.Tensor) -> torch.Tensor:
        levels, scales = _inputs(rows)
        missing = max(0, _FEWEST_ROWS - len(rows)) if rows.is_cuda else 0
        padded = nn.functional.pad(levels, (0, 0, 0, missing))
        out = torch._int_mm(padded, weight)[: len(rows)]  # noqa: SLF001
        return (out * scales * of_weights).to(rows.dtype)

    return multiply


def int8_weights(layer: CompressedLinear, dtype: torch.dtype) -> Way:
    """INT8 weights, by torch's kernel that turns them into numbers as it goes."""
    weight, scales = layer.levels().contiguous(), layer.weight_scale.flatten().to(dtype)

    def multiply(rows: torch.Tensor) -> torch.Tensor:
        return torch._weight_int8pack_mm(rows, weight, scales)  # noqa: SLF001

    return multiply


def int4_weights(layer: CompressedLinear, dtype: torch.dtype) -> Way:
    """INT4 weights, by torch's kernel for the CPU that turns them into numbers as it goes."""
    unsigned = layer.levels().to(torch.int32) + 8
    packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(unsigned, 1)  # noqa: SLF001
    of_groups = layer.weight_scale.t().to(dtype)
    scales = torch.stack([of_groups, torch.zeros_like(of_groups)], dim=-1).contiguous()
    group = layer.scheme.group

    def multiply(rows: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = torch.ops.aten._weight_int4pack_mm_for_cpu(  # noqa: SLF001
            rows.contiguous(), packed, group, scales
        )
        return out

    return multiply


def scaled_product(layer: CompressedLinear, dtype: torch.dtype) -> Way:
    """FP8 inputs and weights, by cards that multiply them."""
    del dtype
    weight, of_weights = layer.levels().t(), layer.weight_scale.t().float().contiguous()

    def multiply(rows: torch.Tensor) -> torch.Tensor:
        levels, scales = _inputs(rows, floats=True)
        return torch._scaled_mm(  # noqa: SLF001
            levels, weight, scale_a=scales, scale_b=of_weights, out_dtype=rows.dtype
        )

    return multiply


WAYS: Mapping[tuple[str, str], tuple[MakeWay, ...]] = {
    ("w8a8", "cpu"): (onednn, integer_product),
    ("w8a8", "cuda"): (integer_product,),
    ("w8a16", "cpu"): (int8_weights,),
    ("w8a16", "cuda"): (int8_weights,),
    ("w4a16", "cpu"): (int4_weights,),
    ("fp8", "cuda"): (scaled_product,),
}
"""The ways beside `plain`, by scheme and device."""


class QuantisedLinear(nn.Module):
    """A linear layer that computes with quantised weights."""

    def __init__(self, layer: CompressedLinear, way: Way) -> None:
        """Takes the bias of a layer, and a way that was made of its weights."""
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.bias: nn.Parameter | None = layer.bias
        self._way = way

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Applies the layer: `[..., in]` to `[..., out]`."""
        out = self._way(rows.reshape(-1, self.in_features))
        if self.bias is not None:
            out = out + self.bias
        return out.reshape(*rows.shape[:-1], self.out_features)


def compute_quantised(model: nn.Module, *, batch: int, dtype: torch.dtype) -> dict[str, int]:
    """Replaces a model's `CompressedLinear` by layers that compute.

    Args:
        model: The model on its device, whose layers are replaced in place.
        batch: Rows of a full batch of next tokens.
        dtype: Type of the model's other weights.

    Returns:
        How many layers compute in which way, by the way's name.
    """
    by_shape: dict[tuple[object, ...], list[tuple[nn.Module, str, CompressedLinear]]]
    by_shape = defaultdict(list)
    for parent in model.modules():
        for name, child in parent.named_children():
            if isinstance(child, CompressedLinear):
                kind = (child.scheme, child.in_features, child.out_features)
                by_shape[kind].append((parent, name, child))
    counts: dict[str, int] = defaultdict(int)
    with torch.inference_mode():
        for group in by_shape.values():
            way = _fastest(group[0][2], batch, dtype)
            counts[way.__name__] += len(group)
            while group:  # popped one by one, so that each checkpoint's tensor is freed at once
                parent, name, layer = group.pop()
                setattr(parent, name, _layer(layer, way, dtype))
    if counts:
        logger.info("quantised layers: %s", ", ".join(f"{n} {way}" for way, n in counts.items()))
    return dict(counts)


def _layer(layer: CompressedLinear, make: MakeWay, dtype: torch.dtype) -> nn.Module:
    if make is not plain or layer.scheme.activations:
        return QuantisedLinear(layer, make(layer, dtype))
    unquantised = nn.Linear(layer.in_features, layer.out_features, bias=False, device="meta")
    unquantised.weight = nn.Parameter(layer.dense(dtype), requires_grad=False)
    unquantised.bias = layer.bias
    return unquantised


def _fastest(layer: CompressedLinear, batch: int, dtype: torch.dtype) -> MakeWay:
    """The way with the least time for a batch of next tokens plus a prompt chunk."""
    expected = plain(layer, dtype)
    trials = [_rows(layer, count, dtype) for count in (batch, _PROMPT_ROWS)]
    best: MakeWay = plain
    minimum = sum(_seconds(expected, rows) for rows in trials)
    for make in WAYS.get((layer.scheme.name, layer.weight_scale.device.type), ()):
        try:
            way = make(layer, dtype)
            agrees = all(_agree(way(rows), expected(rows)) for rows in trials)
            seconds = sum(_seconds(way, rows) for rows in trials) if agrees else minimum
        except (RuntimeError, NotImplementedError) as error:  # no kernel for the device or the type
            logger.info("%s does not work here: %s", make.__name__, str(error).splitlines()[0])
            continue
        if not agrees:
            logger.info("%s computes something else here, and is not used", make.__name__)
        elif seconds < minimum:
            best, minimum = make, seconds
    return best


def _rows(layer: CompressedLinear, count: int, dtype: torch.dtype) -> torch.Tensor:
    """Inputs that add up to the largest sums there are: in them, clipping shows."""
    signs = layer.dense(torch.float32).sign()[torch.arange(count) % layer.out_features]
    return signs.to(dtype).contiguous()


def _agree(found: torch.Tensor, expected: torch.Tensor) -> bool:
    bound = _TOLERANCE * expected.float().abs().max()
    return bool(((found.float() - expected.float()).abs() <= bound).all())


def _seconds(way: Callable[[torch.Tensor], torch.Tensor], rows: torch.Tensor) -> float:
    minimum = float("inf")
    for run in range(1 + _TRIALS):
        began = time.perf_counter()
        way(rows)
        if rows.is_cuda:
            torch.cuda.synchronize(rows.device)
        if run:
            minimum = min(minimum, time.perf_counter() - began)
    return minimum


def _inputs(rows: torch.Tensor, *, floats: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows in INT8 or FP8, and the scale of each `[n, 1]`."""
    numbers = rows.float()
    largest = _LARGEST_FLOAT if floats else _LARGEST_INTEGER
    scales = numbers.abs().amax(1, keepdim=True) / largest
    levels = numbers / scales.clamp_(min=torch.finfo(torch.float32).tiny)
    return levels.to(torch.float8_e4m3fn) if floats else levels.round().to(torch.int8), scales
