"""Where a model runs, and in which type."""

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


def choose_device(options: TorchOptions) -> torch.device:
    """The device that the options name.

    Raises:
        EnvironmentFault: There is no CUDA device, but it is asked for.
    """
    available = torch.cuda.is_available()
    if options.device == "cuda" and not available:
        raise EnvironmentFault(
            "The torch engine is to run on CUDA, but torch finds no CUDA device. "
            "Set its option device to cpu, or install a build of torch for the machine's driver."
        )
    return torch.device("cuda" if available and options.device != "cpu" else "cpu")


def choose_dtype(
    options: TorchOptions, stored: Mapping[str, int], device: torch.device
) -> torch.dtype:
    """The type of weights and KV cache.

    "auto" goes by the type that most of the checkpoint has. CUDA computes float32 weights in
    bfloat16, and half precision as it is; cards before Ampere, which have no bfloat16, in float16.
    A CPU rounds nobody's weights unasked: float32 stays, float16 becomes float32, and bfloat16
    stays where the processor multiplies it in hardware.

    Args:
        options: What is asked for.
        stored: Elements by type in the checkpoint, as safetensors names types.
        device: Where it will run.
    """
    if options.dtype != "auto":
        return _NAMED[options.dtype]
    mostly = max(stored, key=lambda name: stored[name], default="F32")
    if device.type == "cuda":
        half = mostly == "F16" or not _has_bfloat16(device)
        return torch.float16 if half else torch.bfloat16
    return torch.bfloat16 if mostly == "BF16" and _has_bfloat16(device) else torch.float32


def _has_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware; known of GPUs and x86 processors."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return not features().isdisjoint({"avx512_bf16", "amx_bf16"})
