"""OpenVINO's arithmetic settings for this processor (docs/decisions/0018)."""

from __future__ import annotations

from typing import Any

from silkline.engines.processor import multiplies_int8_exactly


def arithmetic() -> dict[str, Any]:
    """Properties for models compiled for the CPU; callers may override them.

    If the processor does not multiply 8-bit numbers exactly, layers with 8-bit activations compute
    in float32: that gives the model's exact results, and was not slower on AVX2.
    """
    properties: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
    if not multiplies_int8_exactly():
        # The first is for activations that the model quantises, the second for OpenVINO's own.
        properties |= {"LP_TRANSFORMS_MODE": "NO", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}
    return properties
