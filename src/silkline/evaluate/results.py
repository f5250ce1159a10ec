"""What an evaluation found, in the form in which it is written as JSON."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from silkline.evaluate.subject import Subject

SIGNIFICANT = 0.05
"""Below this p-value an effect is called clear."""


class Score(msgspec.Struct, frozen=True):
    """A metric's mean over all items, with its 95% interval; no answer counts 0."""

    metric: str
    about: str
    mean: float
    low: float
    high: float
    highest: float


class Latency(msgspec.Struct, frozen=True):
    """Seconds from asking to the end of the answer, over the items that got one."""

    mean: float
    p50: float
    p90: float
    p99: float


class Result(msgspec.Struct, frozen=True):
    """How one subject did.

    Attributes:
        subject: Who was asked.
        items: How many, each row of the set for itself.
        answered: How many got an answer.
        cut: Answers that ended at `max_tokens`.
        failures: Number of items by error code.
        scores: The metrics, the one that counts first.
        latency: None where nothing was answered.
        prompt_tokens: Of all answers; a question that stands in several rows has one.
        completion_tokens: Of all answers.
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


class Difference(msgspec.Struct, frozen=True):
    """A metric of B less that of A, on the same items.

    Attributes:
        metric: Its name.
        first: A's mean.
        second: B's mean.
        difference: B less A.
        low: Where its 95% interval begins: Bonett and Price's where the metric is right or wrong,
            else by a paired bootstrap.
        high: Where it ends.
        better: Items on which B is better.
        worse: Items on which B is worse.
        p: Of McNemar's exact test where the metric is right or wrong, else of a paired
            randomisation test. Items that are the same question count as one observation.
        right_or_wrong: Which of the two.
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
        """Whether the test and the interval both say that there is a difference."""
        return self.p < SIGNIFICANT and (self.low > 0 or self.high < 0)


class Slice(msgspec.Struct, frozen=True):
    """The difference of the first metric on the items that have a value in common.

    Attributes:
        field: Which field, or "picture size".
        value: Its value.
        items: How many there are.
        difference: As of all items.
        p_corrected: Its p-value, by Holm's correction for all slices together.
    """

    field: str
    value: str
    items: int
    difference: Difference
    p_corrected: float

    @property
    def is_clear(self) -> bool:
        """Whether there is an effect, many slices or not."""
        return self.p_corrected < SIGNIFICANT


class Comparison(msgspec.Struct, frozen=True):
    """B beside A.

    Attributes:
        agreement: Share of the items on which both gave the same answer, letter by letter.
        differences: By metric, the one that counts first.
        slices: Effects by slice of that metric: clear ones first, and among them the largest.
    """

    agreement: float
    differences: list[Difference]
    slices: list[Slice]

    @property
    def changed(self) -> list[Slice]:
        """The slices in which an item scores differently."""
        return [one for one in self.slices if one.difference.better or one.difference.worse]


class Evaluation(msgspec.Struct, frozen=True):
    """All that was found.

    Attributes:
        dataset: The set's name.
        digest: Of its items and references.
        items: How many were asked.
        seed: Of the resampling.
        results: By subject, in the order of the command.
        comparison: None where there is one subject.
        duplicates: Items that repeat the question of an earlier row; it was asked once.
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
        """Items that differ."""
        return self.items - self.duplicates


Scores = Mapping[str, list[float]]
"""Values by metric, in the order of the items."""
