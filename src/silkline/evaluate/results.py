"""The results of an evaluation, as written to JSON."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from silkline.evaluate.subject import Subject

SIGNIFICANT = 0.05
"""Effects with a p-value below this are called clear."""


class Score(msgspec.Struct, frozen=True):
    """A metric's mean over all items, with its 95% interval; an item without an answer scores 0."""

    metric: str
    about: str
    mean: float
    low: float
    high: float
    highest: float


class Latency(msgspec.Struct, frozen=True):
    """Seconds from request to end of answer, over the answered items."""

    mean: float
    p50: float
    p90: float
    p99: float


class Result(msgspec.Struct, frozen=True):
    """The results of one subject.

    Attributes:
        subject: The subject.
        items: Number of items, counting each row of the data set.
        answered: Number of items that got an answer.
        cut: Number of answers that were cut at `max_tokens`.
        failures: Number of items by error code.
        scores: Scores by metric, the main metric first.
        latency: None if no item was answered.
        prompt_tokens: Prompt tokens of all answers; duplicate rows share one answer.
        completion_tokens: Completion tokens of all answers.
        calibration_error: How far the answers' probabilities and their correctness by the main
            metric are apart, from 0 to 1; None if a probability is unknown, or the metric is not
            right or wrong.
    """

    subject: Subject
    items: int
    answered: int
    cut: int
    failures: dict[str, int]
    scores: list[Score]
    latency: Latency | None
    prompt_tokens: int
    completion_tokens: int
    calibration_error: float | None = None


class Difference(msgspec.Struct, frozen=True):
    """The difference of a metric, B minus A, on the same items.

    Attributes:
        metric: The metric's name.
        first: A's mean.
        second: B's mean.
        difference: B's mean minus A's.
        low: Lower end of the 95% interval, by Bonett and Price if the metric is always 0 or 1, else
            by a paired bootstrap.
        high: Upper end of the interval.
        better: Items on which B is better.
        worse: Items on which B is worse.
        p: P-value of McNemar's exact test if the metric is always 0 or 1, else of a paired
            randomisation test. Duplicate questions count as one observation.
        right_or_wrong: Whether the metric is always 0 or 1.
    """

    metric: str
    first: float
    second: float
    difference: float
    low: float
    high: float
    better: int
    worse: int
    p: float
    right_or_wrong: bool

    @property
    def is_clear(self) -> bool:
        """Whether the test and the interval both show a difference."""
        return self.p < SIGNIFICANT and (self.low > 0 or self.high < 0)


class Slice(msgspec.Struct, frozen=True):
    """The difference of the main metric on the items that share the value of a field.

    Attributes:
        field: The field's name, or "picture size".
        value: Its value.
        items: Number of items with the value.
        difference: The difference on these items.
        p_corrected: Its p-value with Holm's correction over all slices.
    """

    field: str
    value: str
    items: int
    difference: Difference
    p_corrected: float

    @property
    def is_clear(self) -> bool:
        """Whether the effect is clear after the correction."""
        return self.p_corrected < SIGNIFICANT


class Comparison(msgspec.Struct, frozen=True):
    """The comparison of B with A.

    Attributes:
        agreement: Share of the items with identical answers.
        differences: Differences by metric, the main metric first.
        slices: Differences of the main metric by slice: clear ones first, by size.
    """

    agreement: float
    differences: list[Difference]
    slices: list[Slice]

    @property
    def changed(self) -> list[Slice]:
        """The slices in which at least one item scores differently."""
        return [part for part in self.slices if part.difference.better or part.difference.worse]


class Evaluation(msgspec.Struct, frozen=True):
    """The results of an evaluation of one or two subjects.

    Attributes:
        dataset: The data set's name.
        digest: Digest of its items and references.
        items: Number of items.
        seed: Seed of the resampling.
        results: Results by subject, in the order of the command.
        comparison: None if there is only one subject.
        duplicates: Number of items that repeat the question of an earlier row.
    """

    dataset: str
    digest: str
    items: int
    seed: int
    results: list[Result]
    comparison: Comparison | None = None
    duplicates: int = 0

    @property
    def questions(self) -> int:
        """Number of different questions."""
        return self.items - self.duplicates


Scores = Mapping[str, list[float]]
"""Values by metric, in the order of the items."""
