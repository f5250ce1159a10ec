"""Questions that stand in a set several times: one observation each, with a weight."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sample:
    """A value for each different question, and how many rows it stands for.

    The rows of one question have one answer, so they tell no more than one row does. The mean
    counts each row; only the questions are independent of each other.

    Attributes:
        values: By question.
        weights: Rows by question, at least 1.
    """

    values: Sequence[float]
    weights: Sequence[int]

    @property
    def mean(self) -> float:
        """The mean over all rows."""
        return math.fsum(self.weighted) / sum(self.weights)

    @property
    def weighted(self) -> list[float]:
        """The sum over the rows of each question."""
        return [value * weight for value, weight in zip(self.values, self.weights, strict=True)]

    @property
    def effective(self) -> float:
        """The number of questions of weight 1 that would give a mean as exact as this one.

        Kish, Survey Sampling, 1965; the number of questions where all weigh the same.
        """
        return sum(self.weights) ** 2 / sum(weight * weight for weight in self.weights)

    @property
    def linear(self) -> Sequence[float]:
        """Values by question whose mean varies as the mean over all rows does.

        The linearised ratio of sum of values to sum of weights: Cochran, Sampling Techniques, 1977,
        chapter 6. The values themselves where all weigh the same.
        """
        if len(set(self.weights)) == 1:
            return self.values
        mean, scale = self.mean, len(self.weights) / sum(self.weights)
        return [
            mean + weight * scale * (value - mean)
            for value, weight in zip(self.values, self.weights, strict=True)
        ]


def sample(keys: Sequence[Hashable], values: Sequence[float]) -> Sample:
    """Takes the values of rows together by their question's key; equal keys have equal values."""
    weights = Counter(keys)
    by_key = dict(zip(keys, values, strict=True))
    return Sample(list(by_key.values()), [weights[key] for key in by_key])
