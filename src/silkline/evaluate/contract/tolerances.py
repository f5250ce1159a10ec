"""How far an engine may be from the reference, by the precision of its weights.

Pixels do not depend on the precision of weights: they differ by rounding or not at all. Where they
are bfloat16, a value of the picture's range is off by a quarter of 1/255 at most.
"""

from __future__ import annotations

from silkline.evaluate.contract.results import Tolerance

SHARE = 0.01
"""Tokens that the reference gives less than this probability are left out of `log_probability`: of
what hardly ever comes, rounded weights change the logarithm much and the answer not at all."""

_PIXELS = {"maximum": 1.0, "mean": 0.05, "scaled_maximum": 6.0, "scaled_mean": 0.5}

_FIRST_TOKEN = (
    (("float32", "fp32", "f32"), {"log_probability": 0.01, "divergence": 1e-4}),
    (("float16", "fp16", "f16"), {"log_probability": 0.05, "divergence": 1e-3}),
    (("bfloat16", "bf16"), {"log_probability": 0.5, "divergence": 0.02, "share": 0.9}),
)
_ROUNDED = {"log_probability": 1.0, "divergence": 0.25, "share": 2 / 3}
"""8 bits and fewer, and precisions that are not known, such as a server's."""


def tolerance_of(precision: str) -> Tolerance:
    """What is allowed for weights of a precision, in an engine's words."""
    for names, first_token in _FIRST_TOKEN:
        if precision.lower() in names:
            return Tolerance(**_PIXELS, **first_token)
    return Tolerance(**_PIXELS, **_ROUNDED)
