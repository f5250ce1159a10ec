"""Statistics over duplicate questions: one observation per question, weighted by its rows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sample:
    """A value for each different question, and its number of rows.

    All rows of a question share one answer, so they carry no more information than one row. The
    mean counts each row; only the questions are independent of each other.

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
        """The number of questions of weight 1 that would give an equally precise mean.

        Kish, Survey Sampling, 1965. Equals the number of questions if all have the same weight.
        """
        return sum(self.weights) ** 2 / sum(weight * weight for weight in self.weights)

    @property
    def linear(self) -> Sequence[float]:
        """Values by question whose mean has the same variance as the mean over all rows.

        The linearised ratio of sum of values to sum of weights: Cochran, Sampling Techniques, 1977,
        chapter 6. Equals the values if all have the same weight.
        """
        if len(set(self.weights)) == 1:
            return self.values
        mean, scale = self.mean, len(self.weights) / sum(self.weights)
        return [
            mean + weight * scale * (value - mean)
            for value, weight in zip(self.values, self.weights, strict=True)
        ]


def sample(keys: Sequence[Hashable], values: Sequence[float]) -> Sample:
    """Groups the values of rows by question key; rows with equal keys have equal values."""
    weights = Counter(keys)
    by_key = dict(zip(keys, values, strict=True))
    return Sample(list(by_key.values()), [weights[key] for key in by_key])
