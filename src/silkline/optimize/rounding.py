"""Rounds weights to fewer bits, as tensors of the compressed-tensors format."""

from __future__ import annotations

import torch

from silkline.engines.torch.compressed import packed
from silkline.models.compressed import PACKED, Scheme

_SHARES = torch.linspace(0.7, 1.0, 13)
"""Shares of the largest weight that are tried as the largest level of 4 bits: cutting a few large
weights off makes all others finer."""

_FLOAT8_MAX = torch.finfo(torch.float8_e4m3fn).max


def rounded(weight: torch.Tensor, scheme: Scheme) -> dict[str, torch.Tensor]:
    """The tensors of a quantised weight, by their names in a layer.

    Args:
        weight: The weight `[out, in]`.
        scheme: How to quantise it; its group divides `in`.
    """
    grouped = weight.float().reshape(len(weight), -1, scheme.group or weight.shape[1])
    largest = grouped.abs().amax(2, keepdim=True)
    if scheme.kind == "float":
        scales = _normal(largest / _FLOAT8_MAX, torch.float32)
        return {
            "weight": (grouped / scales).flatten(1).to(torch.float8_e4m3fn),
            "weight_scale": scales.flatten(1),
        }
    top = 2 ** (scheme.bits - 1) - 1
    # Servers keep scales in the type of the weights that they dequantise.
    dtype = weight.dtype if scheme.format == PACKED else torch.float32
    scales = _finest(grouped, largest / top, top) if scheme.group else largest / top
    scales = _normal(scales, dtype)
    levels = _levels(grouped, scales.float(), top).to(torch.int8).flatten(1)
    if scheme.format != PACKED:
        return {"weight": levels, "weight_scale": scales.flatten(1)}
    return {
        "weight_packed": packed(levels, scheme.bits),
        "weight_scale": scales.flatten(1),
        "weight_shape": torch.tensor(weight.shape),
    }


def _normal(scales: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Scales in a type, none of them zero."""
    return scales.to(dtype).clamp(min=torch.finfo(dtype).smallest_normal)


def _levels(grouped: torch.Tensor, scales: torch.Tensor, top: int) -> torch.Tensor:
    return (grouped / scales).round().clamp(-top - 1, top)


def _finest(grouped: torch.Tensor, scales: torch.Tensor, top: int) -> torch.Tensor:
    """Of some shares of the scales, per group the one with the smallest squared error."""
    best, minimum = scales, torch.full_like(scales, float("inf"))
    for share in _SHARES:
        tried = scales * share
        error = (_levels(grouped, tried, top) * tried - grouped).square().sum(2, keepdim=True)
        better = error < minimum
        best, minimum = torch.where(better, tried, best), torch.where(better, error, minimum)
    return best
