"""The catalogue of metrics, and which of them fit a data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from silkline.errors import ConfigError
from silkline.evaluate.item import Item, Kind, kind_of
from silkline.evaluate.metrics import choices, cider, overlap, paths, records, text, vqa

FIELD = "field:"
"""Prefix of the metric of a single record field, followed by the field's name."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric of the correctness of answers; higher is better.

    Attributes:
        name: Its name on the command line and in results.
        about: A short description.
        kind: What answers are compared with.
        score: Returns the value of each item, given the items and their answers.
        right_or_wrong: Whether its values are always 0 or 1.
        highest: The highest possible value; the lowest is 0.
    """

    name: str
    about: str
    kind: Kind
    score: Callable[[Sequence[Item], Sequence[str]], list[float]]
    right_or_wrong: bool = False
    highest: float = 1.0


def _each(
    score: Callable[[Item, str], float],
) -> Callable[[Sequence[Item], Sequence[str]], list[float]]:
    """Makes a metric's `score` from a function that scores a single item."""

    def scores(items: Sequence[Item], answers: Sequence[str]) -> list[float]:
        return [score(item, answer) for item, answer in zip(items, answers, strict=True)]

    return scores


_ALL = (
    Metric("exact_match", "the answer is a reference", Kind.TEXT, _each(text.exact_match),
           right_or_wrong=True),
    Metric("vqa_accuracy", "agreement with several people's answers", Kind.TEXT,
           _each(vqa.vqa_accuracy)),
    Metric("anls", "similarity of characters", Kind.TEXT, _each(overlap.anls)),
    Metric("token_f1", "common words", Kind.TEXT, _each(text.token_f1)),
    Metric("rouge_l", "common words in order", Kind.TEXT, _each(overlap.rouge_l)),
    Metric("cider", "agreement with captions, rare words weigh more", Kind.TEXT, cider.cider,
           highest=10.0),
    Metric("hierarchical_f1", "common categories of two paths", Kind.TEXT,
           _each(paths.hierarchical_f1)),
    Metric("choice_accuracy", "the right choice", Kind.CHOICE, _each(choices.choice_accuracy),
           right_or_wrong=True),
    Metric("record", "the whole record is right", Kind.RECORD, _each(records.record),
           right_or_wrong=True),
    Metric("fields", "share of right fields", Kind.RECORD, _each(records.fields)),
    Metric("record_valid", "the answer is a JSON object", Kind.RECORD,
           _each(records.record_valid), right_or_wrong=True),
)  # fmt: skip

METRICS: Mapping[str, Metric] = {metric.name: metric for metric in _ALL}
"""The metrics by name, except those of single fields."""

_USUAL = {
    Kind.TEXT: ("exact_match", "token_f1"),
    Kind.CHOICE: ("choice_accuracy",),
    Kind.RECORD: ("record", "fields", "record_valid"),
    Kind.NONE: (),
}


def choose_metrics(names: Sequence[str], items: Sequence[Item]) -> list[Metric]:
    """Chooses the metrics of an evaluation; the first is the main metric.

    Args:
        names: Names of metrics; if empty, those that fit the set, with one per record field.
        items: The data set; all items are of one kind.

    Raises:
        ConfigError: A name is unknown, or does not fit the data set.
        EnvironmentFault: A metric's library is not installed.
    """
    kind = kind_of(items[0])
    chosen = [_fitting(name, kind, items) for name in dict.fromkeys(names or _USUAL[kind])]
    if {"anls", "rouge_l"} & {metric.name for metric in chosen}:
        overlap.check_installed()
    if kind is Kind.RECORD and not names:
        fields = dict.fromkeys(name for item in items for name in item.record or {})
        chosen += [_of_field(name) for name in fields]
    return chosen


def _fitting(name: str, kind: Kind, items: Sequence[Item]) -> Metric:
    if name.startswith(FIELD) and kind is Kind.RECORD:
        field = name.removeprefix(FIELD)
        if any(field in (item.record or {}) for item in items):
            return _of_field(field)
    metric = METRICS.get(name)
    fits = [other.name for other in _ALL if other.kind is kind]
    if metric is None or metric.kind is not kind:
        known = "does not fit" if metric else "is unknown"
        advice = f"Choose from {', '.join(fits)}." if fits else "No metric fits it."
        raise ConfigError(f"The metric {name} {known}: the data set has {kind.value}. {advice}")
    if metric.name == "vqa_accuracy":
        few = next((item for item in items if len(item.references) < vqa.MIN_REFERENCES), None)
        if few is not None:
            raise ConfigError(
                f"The metric vqa_accuracy needs the answers of at least {vqa.MIN_REFERENCES} "
                f"people; item {few.id} has {len(few.references)}. Use exact_match instead."
            )
    return metric


def _of_field(name: str) -> Metric:
    return Metric(
        f"{FIELD}{name}",
        f"the field {name} is right",
        Kind.RECORD,
        _each(partial(records.field, name)),
        right_or_wrong=True,
    )
