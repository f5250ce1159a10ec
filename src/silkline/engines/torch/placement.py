"""Chooses the device and the type that a model runs with."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from silkline.engines.processor import features
from silkline.engines.torch.options import TorchOptions
from silkline.errors import EnvironmentFault

_NAMED = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
_STORED = frozenset({"F32", "BF16", "F16"})
"""Types of weights that are not quantised, as safetensors names them."""


def choose_device(options: TorchOptions) -> torch.device:
    """Returns the device that the options select.

    Raises:
        EnvironmentFault: The options require CUDA, but there is no CUDA device.
    """
    available = torch.cuda.is_available()
    if options.device == "cuda" and not available:
        raise EnvironmentFault(
            "The torch engine must run on CUDA (option device), but torch finds no CUDA device. "
            "Set the option device to cpu, or install a build of torch for the machine's driver."
        )
    return torch.device("cuda" if available and options.device != "cpu" else "cpu")


def choose_dtype(
    options: TorchOptions, stored: Mapping[str, int], device: torch.device
) -> torch.dtype:
    """Returns the type of weights and KV cache.

    "auto" follows the type of most elements in the checkpoint that are not quantised. CUDA runs
    float32 weights in bfloat16 and half precision unchanged; cards before Ampere, which lack
    bfloat16, use float16. On a CPU no weights are rounded: float32 stays, float16 becomes float32,
    and bfloat16 stays if the processor multiplies it in hardware, else it becomes float32.

    Args:
        options: The engine's options.
        stored: Number of elements by type in the checkpoint, with safetensors' names of types.
        device: The device that the model will run on.
    """
    if options.dtype != "auto":
        return _NAMED[options.dtype]
    plain = {name: count for name, count in stored.items() if name in _STORED}
    mostly = max(plain, key=lambda name: plain[name], default="F32")
    if device.type == "cuda":
        half = mostly == "F16" or not has_bfloat16(device)
        return torch.float16 if half else torch.bfloat16
    return torch.bfloat16 if mostly == "BF16" and has_bfloat16(device) else torch.float32


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware; known for GPUs and x86 processors."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return not features().isdisjoint({"avx512_bf16", "amx_bf16"})
