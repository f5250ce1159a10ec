"""Linear layers with quantised weights, as the compressed-tensors format stores them.

A model's class is extended so that transformers loads the quantised tensors by their names, in all
its versions. After loading, `engines.torch.quantised` replaces these layers by ones that compute.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from silkline.models.compressed import PACKED, Compressed, Scheme

_WORD = 32
"""Bits of the integers that packed weights are stored in."""


class CompressedLinear(nn.Module):
    """A linear layer's quantised weight and its scales; it holds them and does not compute."""

    def __init__(self, plain: nn.Linear, scheme: Scheme) -> None:
        """Makes room for the tensors of a checkpoint.

        Args:
            plain: The layer without quantisation.
            scheme: How its weight is quantised.
        """
        super().__init__()
        self.in_features, self.out_features = plain.in_features, plain.out_features
        self.scheme = scheme
        self.bias = plain.bias
        rows, columns = plain.weight.shape
        scales = -(-columns // scheme.group) if scheme.group else 1
        self.weight_scale = _parameter(rows, scales, torch.float32)
        if scheme.format == PACKED:
            words = -(-columns * scheme.bits // _WORD)
            self.weight_packed = _parameter(rows, words, torch.int32)
            shape = torch.empty(len(plain.weight.shape), dtype=torch.int64)
            self.weight_shape = nn.Parameter(shape, requires_grad=False)
        else:
            dtype = torch.int8 if scheme.kind == "int" else torch.float8_e4m3fn
            self.weight = _parameter(rows, columns, dtype)

    def levels(self) -> torch.Tensor:
        """The quantised weight `[out, in]`: int8, or FP8 for floats."""
        if self.scheme.format == PACKED:
            return unpacked(self.weight_packed, self.scheme.bits, self.in_features)
        return self.weight

    def dense(self, dtype: torch.dtype) -> torch.Tensor:
        """The weight `[out, in]` as numbers, rounded to a type."""
        levels, size = self.levels().float(), self.scheme.group or self.in_features
        scales = self.weight_scale.repeat_interleave(size, dim=1)[:, : self.in_features]
        return (levels * scales).to(dtype)


def _parameter(rows: int, columns: int, dtype: torch.dtype) -> nn.Parameter:
    return nn.Parameter(torch.empty(rows, columns, dtype=dtype), requires_grad=False)


def packed(levels: torch.Tensor, bits: int) -> torch.Tensor:
    """Packs levels `[out, in]`, int8, into int32: unsigned, the first in the lowest bits."""
    per_word = _WORD // bits
    unsigned = (levels.to(torch.int64) + (1 << (bits - 1))) & ((1 << bits) - 1)
    unsigned = nn.functional.pad(unsigned, (0, -levels.shape[1] % per_word))
    shifts = torch.arange(per_word) * bits
    words = (unsigned.reshape(len(levels), -1, per_word) << shifts).sum(2)
    return torch.where(words >= 1 << (_WORD - 1), words - (1 << _WORD), words).to(torch.int32)


def unpacked(words: torch.Tensor, bits: int, columns: int) -> torch.Tensor:
    """The levels `[out, columns]`, int8, of packed ones."""
    shifts = torch.arange(0, _WORD, bits, device=words.device, dtype=torch.int32)
    unsigned = (words[..., None] >> shifts) & ((1 << bits) - 1)
    return (unsigned - (1 << (bits - 1))).to(torch.int8).flatten(1)[:, :columns]


def with_compressed(kind: Any, compressed: Compressed) -> Any:
    """A class of transformers whose quantised layers are `CompressedLinear`.

    Args:
        kind: The class.
        compressed: Which layers are quantised.
    """

    def make(self: nn.Module, *arguments: Any, **options: Any) -> None:
        kind.__init__(self, *arguments, **options)
        for name, module in list(self.named_modules()):
            scheme = compressed.scheme_of(name) if type(module) is nn.Linear else None
            if scheme is not None:
                self.set_submodule(name, CompressedLinear(module, scheme))

    # transformers finds how it renames tensors by the class's name.
    return type(kind.__name__, (kind,), {"__init__": make, "__module__": kind.__module__})
