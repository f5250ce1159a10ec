"""What a teacher uses most: its channels, attention heads and neurons, measured on images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

_ATTENTION_ENDS = ("o_proj", "out_proj")
_NEURON_ENDS = ("down_proj", "fc2")


@dataclass(slots=True)
class Importance:
    """Mean absolute activations of a tower or a decoder.

    Attributes:
        channels: Of each channel of the residual stream, the layers' outputs together.
        heads: Of each channel of the attention's output, by layer.
        neurons: Of each neuron, by layer.
    """

    channels: Tensor
    heads: dict[int, Tensor] = field(default_factory=dict)
    neurons: dict[int, Tensor] = field(default_factory=dict)


@contextmanager
def measured(layers: nn.ModuleList, width: int) -> Iterator[Importance]:
    """Measures all that passes the layers during the block."""
    found = Importance(torch.zeros(width))
    hooks = []
    for index, layer in enumerate(layers):
        hooks.append(layer.register_forward_hook(_output(found)))
        for name, module in layer.named_modules():
            last = name.rpartition(".")[2]
            if last in _ATTENTION_ENDS:
                hooks.append(module.register_forward_pre_hook(_input(found.heads, index)))
            elif last in _NEURON_ENDS:
                hooks.append(module.register_forward_pre_hook(_input(found.neurons, index)))
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def strongest(values: Tensor, count: int, run: int = 1) -> Tensor:
    """Returns the indices of the largest values, in ascending order.

    Args:
        values: One for each index.
        count: Number of indices.
        run: Indices are kept or dropped in runs of this length, such as a head's channels.
    """
    sums = values.view(-1, run).sum(-1)
    kept = sums.topk(count // run).indices.sort().values
    return (kept[:, None] * run + torch.arange(run)).flatten()


def _size(value: Tensor) -> Tensor:
    return value.detach().float().abs().flatten(0, -2).mean(0).cpu()


def _output(found: Importance) -> Callable[[nn.Module, Any, Any], None]:
    def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
        size = _size(output[0] if isinstance(output, tuple) else output)
        found.channels += size / size.mean()  # later layers are larger; each counts the same

    return hook


def _input(found: dict[int, Tensor], index: int) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        size = _size(inputs[0])
        found[index] = found[index] + size if index in found else size

    return hook
