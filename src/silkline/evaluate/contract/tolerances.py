"""How far an engine may differ from the reference, by the precision of its weights.

Pixels do not depend on the precision of weights: they differ by rounding or not at all. Pixels in
bfloat16 are off by at most a quarter of 1/255 of the image's range.
"""

from __future__ import annotations

from silkline.evaluate.contract.results import Tolerance

SHARE = 0.01
"""`log_probability` ignores tokens that the reference gives a lower probability: for rare tokens,
rounded weights change the logarithm a lot and the answer not at all."""

_PIXELS = {"maximum": 1.0, "mean": 0.05, "scaled_maximum": 6.0, "scaled_mean": 0.5}

_FIRST_TOKEN = (
    (("float32", "fp32", "f32"), {"log_probability": 0.01, "divergence": 1e-4}),
    (("float16", "fp16", "f16"), {"log_probability": 0.05, "divergence": 1e-3}),
    (("bfloat16", "bf16"), {"log_probability": 0.5, "divergence": 0.02, "share": 0.9}),
)
_ROUNDED = {"log_probability": 1.0, "divergence": 0.25, "share": 2 / 3}
"""For 8 bits and fewer, and for unknown precisions, such as a server's."""


def tolerance_of(precision: str) -> Tolerance:
    """The tolerance for a precision, as the engine names it."""
    for names, first_token in _FIRST_TOKEN:
        if precision.lower() in names:
            return Tolerance(**_PIXELS, **first_token)
    return Tolerance(**_PIXELS, **_ROUNDED)
