"""The options of the torch engine."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

_Count = Annotated[int, msgspec.Meta(ge=0)]


class TorchOptions(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The keys and values that `EngineOptions.extra` may hold for this engine.

    Attributes:
        device: The device that runs the model; "auto" takes CUDA if there is a CUDA device.
        dtype: Type of weights and KV cache; "auto" follows the checkpoint (see
            `placement.choose_dtype`).
        attention: How attention is computed: "sdpa" with torch's fused kernels, which include
            FlashAttention; "eager" with plain matrix products; "auto" measures both when the model
            is loaded, for prompts and for next tokens (see `attention_choice`).
        prefill_chunk: Maximum number of prompt tokens in a step; 0 chooses by device.
        feature_cache_bytes: Size of the cache of image features, for repeated images.
        reuse: Whether prompts reuse the keys and values of a prefix that was computed before, and
            the features of images; see docs/reuse.md.
        adapter_bytes: Memory for LoRA adapters that no request uses; the least recently used one is
            dropped first.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    attention: Literal["auto", "sdpa", "eager"] = "auto"
    prefill_chunk: _Count = 0
    feature_cache_bytes: _Count = 32 * 1024 * 1024
    reuse: bool = True
    adapter_bytes: _Count = 1024 * 1024 * 1024
