"""The settings that only the torch engine knows."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

_Count = Annotated[int, msgspec.Meta(ge=0)]


class TorchOptions(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What `EngineOptions.extra` may hold for this engine.

    Attributes:
        device: Where the model runs; "auto" takes CUDA where there is a card.
        dtype: Of weights and KV cache; "auto" goes by what the checkpoint has (see
            `placement.choose_dtype`).
        attention: How scores are computed: "sdpa" by torch's fused kernels, FlashAttention's among
            them; "eager" by plain matrix products; "auto" measures both when the model is loaded,
            for prompts and for next tokens (see `choosing`).
        prefill_chunk: Most prompt tokens in a step; 0 lets the engine choose by the device.
        feature_cache_bytes: Memory for the features of pictures that may come again.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    attention: Literal["auto", "sdpa", "eager"] = "auto"
    prefill_chunk: _Count = 0
    feature_cache_bytes: _Count = 32 * 1024 * 1024
