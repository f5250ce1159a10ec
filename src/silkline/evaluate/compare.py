"""Compares subject B with subject A, item by item."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from silkline.evaluate.item import Item
from silkline.evaluate.journal import Reply
from silkline.evaluate.metrics.catalogue import Metric
from silkline.evaluate.repeats import sample
from silkline.evaluate.results import Comparison, Difference, Scores, Slice
from silkline.evaluate.significance import bootstrap, holm, mcnemar, paired_shares, sign_flip

IMAGE_SIZE = "picture size"
"""The slice that every set with images of different sizes has."""

_MAX_VALUES = 20
_FEW_SIZES = 6


def compare(
    items: Sequence[Item],
    replies: tuple[Sequence[Reply], Sequence[Reply]],
    metrics: Sequence[Metric],
    scores: tuple[Scores, Scores],
    seed: int,
) -> Comparison:
    """Compares two subjects on the same items.

    Args:
        items: The questions that both subjects answered.
        replies: A's and B's replies, in the order of the items.
        metrics: The metrics; slices are compared by the first.
        scores: A's and B's scores.
        seed: Seed of the resampling.
    """
    first, second = scores
    keys = [item.key for item in items]
    same = [a.answer is not None and a.answer == b.answer for a, b in zip(*replies, strict=True)]
    return Comparison(
        agreement=sum(same) / len(items),
        differences=[
            _difference(metric, keys, (first[metric.name], second[metric.name]), seed)
            for metric in metrics
        ],
        slices=_slices(items, replies, metrics[0], scores, seed) if metrics else [],
    )


def worst(
    items: Sequence[Item], metrics: Sequence[Metric], scores: tuple[Scores, Scores], limit: int
) -> list[int]:
    """Indexes of the items on which B scores lowest against A, the worst first.

    Sorted by the first metric, then by the mean of all metrics. Duplicate questions appear once.
    """
    if not metrics:
        return []
    first, second = scores
    change = {
        metric.name: [b - a for a, b in zip(first[metric.name], second[metric.name], strict=True)]
        for metric in metrics
    }

    def depth(index: int) -> tuple[float, float, int]:
        whole = statistics.fmean(change[metric.name][index] / metric.highest for metric in metrics)
        return change[metrics[0].name][index], whole, index

    ranked = sorted(map(depth, _first_of_each(items)))
    return [
        index for first_change, whole, index in ranked[:limit] if (first_change, whole) < (0, 0)
    ]


def differing(
    items: Sequence[Item], replies: tuple[Sequence[Reply], Sequence[Reply]], limit: int
) -> list[int]:
    """Indexes of the first questions to which A and B gave different answers."""
    a, b = replies
    return [index for index in _first_of_each(items) if a[index].answer != b[index].answer][:limit]


def _first_of_each(items: Sequence[Item]) -> list[int]:
    """Indexes of the items, without duplicates of earlier questions."""
    found: dict[str, int] = {}
    for index, item in enumerate(items):
        found.setdefault(item.key, index)
    return list(found.values())


def _difference(
    metric: Metric,
    keys: Sequence[str],
    scores: tuple[Sequence[float], Sequence[float]],
    seed: int,
) -> Difference:
    """The difference on some items; items with the same key count as one observation."""
    first, second = scores
    changes = [b - a for a, b in zip(first, second, strict=True)]
    better, worse = sum(change > 0 for change in changes), sum(change < 0 for change in changes)
    found = sample(keys, changes)
    if metric.right_or_wrong:
        scale = found.effective / len(changes)
        interval = paired_shares(better * scale, worse * scale, found.effective)
        p = mcnemar(
            sum(value > 0 for value in found.values), sum(value < 0 for value in found.values)
        )
    else:
        interval, p = bootstrap(found.linear, seed), sign_flip(found.weighted, seed)
    return Difference(
        metric=metric.name,
        first=statistics.fmean(first),
        second=statistics.fmean(second),
        difference=statistics.fmean(changes),
        low=interval.low,
        high=interval.high,
        better=better,
        worse=worse,
        p=p,
        right_or_wrong=metric.right_or_wrong,
    )


def _slices(
    items: Sequence[Item],
    replies: tuple[Sequence[Reply], Sequence[Reply]],
    metric: Metric,
    scores: tuple[Scores, Scores],
    seed: int,
) -> list[Slice]:
    first, second = (side[metric.name] for side in scores)
    found: list[tuple[str, str, int, Difference]] = []
    for field, values in slice_fields(items, replies):
        for value in sorted(set(values) - {""}):
            indexes = [index for index, other in enumerate(values) if other == value]
            keys = [items[index].key for index in indexes]
            left, right = ([side[index] for index in indexes] for side in (first, second))
            change = _difference(metric, keys, (left, right), seed)
            found.append((field, value, len(indexes), change))
    corrected = holm([difference.p for *_, difference in found])
    slices = [Slice(*parts, p) for parts, p in zip(found, corrected, strict=True)]
    return sorted(slices, key=_rank)


def _rank(part: Slice) -> tuple[bool, float, float]:
    """Sort key: clear effects by size, then the others by p-value."""
    size = -abs(part.difference.difference)
    return (False, size, 0.0) if part.is_clear else (True, part.p_corrected, size)


def slice_fields(
    items: Sequence[Item], replies: tuple[Sequence[Reply], Sequence[Reply]]
) -> Iterator[tuple[str, Sequence[str]]]:
    """Fields to slice by: each with its values in the order of the items, empty for none.

    A field has 2 to 20 different values.
    """
    names = dict.fromkeys(name for item in items for name in item.fields)
    for name in names:
        values = [item.fields.get(name, "") for item in items]
        if 1 < len(set(values)) <= _MAX_VALUES:
            yield name, values
    pixels = [a.pixels or b.pixels for a, b in zip(*replies, strict=True)]
    if len(set(pixels)) > 1:
        name_of = _sizes(pixels)
        yield IMAGE_SIZE, [name_of[size] for size in pixels]


def _sizes(pixels: Sequence[int]) -> Mapping[int, str]:
    """A label for each size: the size itself if there are few, else its third of the items."""
    counts = Counter(pixels)
    if len(counts) <= _FEW_SIZES:
        return {size: f"{size:,} pixels" if size else "" for size in counts}
    ordered = sorted(size for size in pixels if size)
    low, high = ordered[len(ordered) // 3], ordered[2 * len(ordered) // 3]
    return {
        size: ""
        if not size
        else f"up to {low:,} pixels"
        if size <= low
        else f"up to {high:,} pixels"
        if size <= high
        else f"over {high:,} pixels"
        for size in counts
    }
