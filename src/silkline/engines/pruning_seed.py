"""The tokens that random pruning keeps, the same in every engine."""

from __future__ import annotations

import random

_SEED = 0


def random_kept(features: int, kept: int) -> list[int]:
    """Indices of `kept` of `features` tokens, drawn at random but always the same; sorted."""
    return sorted(random.Random(_SEED).sample(range(features), kept))  # noqa: S311 - no secret
