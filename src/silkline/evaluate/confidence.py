"""How far a model's confidence in its answers can be trusted."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

from silkline.core import TokenLogprob

_GROUPS = 10


def answer_probability(tokens: Sequence[TokenLogprob]) -> float | None:
    """The probability that a model gave to a whole answer; None without log-probabilities."""
    return math.exp(min(0.0, math.fsum(each.logprob for each in tokens))) if tokens else None


def calibration_error(probabilities: Sequence[float], right: Sequence[float]) -> float:
    """The expected calibration error: how far confidence and accuracy are apart, from 0 to 1.

    Items are grouped by tenths of probability; the error is the mean over the items of the
    difference between their group's mean probability and its accuracy. Guo et al., On Calibration
    of Modern Neural Networks, 2017.

    Args:
        probabilities: By item, from 0 to 1.
        right: By item, 1 if the answer is right, else 0.

    Raises:
        ValueError: There are no items.
    """
    if not probabilities:
        raise ValueError("a calibration error needs at least one item")
    groups: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for probability, value in zip(probabilities, right, strict=True):
        groups[min(_GROUPS - 1, int(probability * _GROUPS))].append((probability, value))
    gaps = (abs(math.fsum(p - value for p, value in group)) for group in groups.values())
    return math.fsum(gaps) / len(probabilities)
