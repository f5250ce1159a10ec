"""How OpenVINO computes on this processor (docs/decisions/0018)."""

from __future__ import annotations

from typing import Any

from silkline.engines.processor import multiplies_int8_exactly


def arithmetic() -> dict[str, Any]:
    """Properties for whatever is compiled for the CPU; a caller's own come before them.

    Where the processor does not multiply 8-bit numbers exactly, layers of 8-bit activations compute
    in float32: that gives what the model says, and took no longer on AVX2.
    """
    properties: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
    if not multiplies_int8_exactly():
        # The first is for activations that the model quantises, the second for OpenVINO's own.
        properties |= {"LP_TRANSFORMS_MODE": "NO", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}
    return properties
