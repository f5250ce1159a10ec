"""From a model's confidence to the probability that its answer is right."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

_BINS = 10


class Calibration(msgspec.Struct, frozen=True):
    """A rising step function, fitted by isotonic regression.

    Attributes:
        confidences: Where each step begins, ascending.
        chances: The share of right answers from there on, 0 to 1, ascending.
    """

    confidences: tuple[float, ...]
    chances: tuple[float, ...]

    def __call__(self, confidence: float) -> float:
        """Returns the probability that an answer with this confidence is right."""
        index = bisect.bisect_right(self.confidences, confidence) - 1
        return self.chances[max(0, index)]


@dataclass(slots=True)
class _Block:
    begin: float
    right: float
    count: int


def isotonic(confidences: Sequence[float], right: Sequence[float]) -> Calibration:
    """Fits the rising function with the least squared error (pool adjacent violators).

    Args:
        confidences: Of at least one answer.
        right: How right each answer is, 0 to 1.
    """
    blocks: list[_Block] = []
    for confidence, value in sorted(zip(confidences, right, strict=True)):
        if blocks and blocks[-1].begin == confidence:
            blocks[-1].right += value
            blocks[-1].count += 1
        else:
            blocks.append(_Block(confidence, value, 1))
    pooled: list[_Block] = []
    for block in blocks:
        pooled.append(block)
        while len(pooled) > 1 and _chance(pooled[-2]) >= _chance(pooled[-1]):
            last = pooled.pop()
            pooled[-1].right += last.right
            pooled[-1].count += last.count
    return Calibration(tuple(each.begin for each in pooled), tuple(map(_chance, pooled)))


def calibration_error(chances: Sequence[float], right: Sequence[float]) -> float:
    """The expected calibration error: how far told and true shares are apart, 0 to 1.

    It is the mean over bins with about the same number of answers each.
    """
    ordered = sorted(zip(chances, right, strict=True))
    total = 0.0
    for number in range(_BINS):
        part = ordered[len(ordered) * number // _BINS : len(ordered) * (number + 1) // _BINS]
        total += abs(sum(told - true for told, true in part))
    return total / len(ordered)


def _chance(block: _Block) -> float:
    return block.right / block.count
