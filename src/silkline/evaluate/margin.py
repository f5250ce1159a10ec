"""How much worse one subject is than another, for requirements with a margin.

Items about the same image are one cluster: their changes are not independent of each other. The
interval is Tango's score interval of a paired difference (Equivalence test and confidence interval
for the difference in proportions for the paired-sample design, Statistics in Medicine 1998), on
counts that are divided by the design effect of the clusters. Unlike a bootstrap over the clusters,
it keeps its level when few items change, or none.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

_NORMAL = statistics.NormalDist()
_STEPS = 60
"""Halvings of the search for an end of the interval; more than a float can tell apart."""

_POWER = 0.8
"""The probability of passing for which the items needed are told."""

FEWEST_CLUSTERS = 2
"""Minimum number of clusters for an interval."""


@dataclass(frozen=True, slots=True)
class Drop:
    """The drop from one subject to another on the same items: a mean loss between -1 and 1.

    Attributes:
        items: Number of items.
        clusters: Number of clusters, such as images.
        worse: Sum of the losses of the items that get worse.
        better: Sum of the gains of the items that get better.
        unit: The change of a typical cluster that changes, in items: the design effect. It is
            estimated with one more image of which every answer changes, so that a correlation that
            the sample does not show is allowed for. 1 if every item is its own cluster and is
            right or wrong.
    """

    items: int
    clusters: int
    worse: float
    better: float
    unit: float

    @property
    def value(self) -> float:
        """The mean loss per item."""
        return (self.worse - self.better) / self.items

    @property
    def changing(self) -> float:
        """The mean size of a change; the share of items that change if they are right or wrong."""
        return (self.worse + self.better) / self.items

    def interval(self, confidence: float) -> tuple[float, float]:
        """The ends of the interval that are each right with this confidence, such as 0.95."""
        z = _NORMAL.inv_cdf(confidence)
        return self._end(-1.0, self.value, z), self._end(self.value, 1.0, -z)

    def _end(self, low: float, high: float, z: float) -> float:
        """The drop with a given statistic, which falls as the drop rises."""
        for _ in range(_STEPS):
            middle = (low + high) / 2
            low, high = (middle, high) if self._z(middle) > z else (low, middle)
        return (low + high) / 2

    def p_more(self, margin: float) -> float:
        """P-value of the hypothesis that the drop is at most `margin`; small if it is larger."""
        return _NORMAL.cdf(-self._z(margin))

    def p_less(self, margin: float) -> float:
        """P-value of the hypothesis that the drop is at least `margin`; small if it is smaller."""
        return _NORMAL.cdf(self._z(margin))

    def items_needed(self, margin: float, confidence: float, drop: float) -> int:
        """Items that show in 8 of 10 cases that a true `drop` is below `margin`."""
        return items_needed(margin, self.changing, confidence, drop=drop, unit=self.unit)

    def _z(self, drop: float) -> float:
        """The score statistic of the hypothesis that the true drop is `drop`; about normal.

        Where the unit is estimated, it is about Student's.
        """
        count, gains, losses = (each / self.unit for each in (self.items, self.better, self.worse))
        if drop < 0:
            found = -_score(count, losses, gains, -drop)
        else:
            found = _score(count, gains, losses, drop)
        return found if self.unit == 1 else _as_normal(found, self.clusters - 1)


def drop_of(losses: Sequence[float], clusters: Sequence[Hashable]) -> Drop:
    """Sums up the losses of items: 1 for an answer that gets wrong, -1 for one that gets right.

    Args:
        losses: By item, each from -1 to 1.
        clusters: The cluster of each item.

    Raises:
        ValueError: There are fewer than `FEWEST_CLUSTERS` clusters.
    """
    members: dict[Hashable, list[float]] = defaultdict(list)
    for loss, cluster in zip(losses, clusters, strict=True):
        members[cluster].append(loss)
    if len(members) < FEWEST_CLUSTERS:
        raise ValueError("an interval needs at least two clusters")
    size = math.fsum(len(each) ** 2 for each in members.values()) / len(losses)
    squares = math.fsum(math.fsum(each) ** 2 for each in members.values())
    return Drop(
        items=len(losses),
        clusters=len(members),
        worse=math.fsum(loss for loss in losses if loss > 0),
        better=-math.fsum(loss for loss in losses if loss < 0),
        unit=(size * size + squares) / (size + math.fsum(map(abs, losses))),
    )


def items_needed(
    margin: float,
    changing: float,
    confidence: float,
    *,
    drop: float = 0.0,
    unit: float = 1.0,
) -> int:
    """Items with which a subject is shown to lose less than a margin.

    Nam, Establishing equivalence of two treatments and sample size requirements in matched-pairs
    design, Biometrics 1997. The usual formula takes the same variance under both hypotheses, which
    for few changes gives too few items: 3,435 instead of 4,054 for 0.3 points where 0.5% change.

    Args:
        margin: The largest allowed drop, above 0 and below 1.
        changing: The share of the items that change.
        confidence: Of the test, one-sided.
        drop: The true drop, below `margin`; 0 for an equally good subject.
        unit: The design effect of clusters.
    """
    z, z_power = _NORMAL.inv_cdf(confidence), _NORMAL.inv_cdf(_POWER)
    spread = _null_variance((changing - drop) / 2, (changing + drop) / 2, margin)
    spread_if_true = max(0.0, changing - drop * drop)
    apart = z * math.sqrt(spread) + z_power * math.sqrt(spread_if_true)
    return math.ceil(unit * (apart / (margin - drop)) ** 2)


def _score(count: float, gains: float, losses: float, drop: float) -> float:
    """Tango's statistic; `drop` is at least 0."""
    spread = count * _null_variance(gains / count, losses / count, drop)
    apart = losses - gains - count * drop
    return apart / math.sqrt(spread) if spread > 0 else math.copysign(math.inf, apart)


def _null_variance(gains: float, losses: float, drop: float) -> float:
    """Variance of a change if losses exceed gains by `drop`: most likely for the shares seen."""
    linear = gains + losses + (losses - gains - 2) * drop
    root = math.sqrt(linear * linear + 8 * gains * drop * (1 - drop))
    return (linear + root) / 2 + drop - drop * drop


def _as_normal(value: float, freedom: int) -> float:
    """A value of Student's t as the normal value with the same tail.

    Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.8.
    """
    if math.isinf(value):
        return value
    return value * (1 - 1 / (4 * freedom)) / math.sqrt(1 + value * value / (2 * freedom))
