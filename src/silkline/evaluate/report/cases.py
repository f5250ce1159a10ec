"""The items of which an answer went wrong, as the page shows them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from silkline.evaluate.item import Item, Value
from silkline.evaluate.journal import Reply
from silkline.evaluate.metrics.records import is_same, parse_record
from silkline.evaluate.report.word_diff import Part, diff_words

_MAX_CHARS = 3_000
_ABSENT = "\N{EM DASH}"


@dataclass(frozen=True, slots=True)
class Case:
    """One item of the report.

    Attributes:
        item: What was asked.
        replies: A's, and B's where there is one.
        image: As a data URL; empty where it could not be had.
    """

    item: Item
    replies: tuple[Reply, ...]
    image: str


class Answer(NamedTuple):
    """A subject's answer: parts of text with the HTML element that marks each, or a failure."""

    side: str
    parts: list[tuple[str, str]]
    failure: str


@dataclass(frozen=True, slots=True)
class Shown:
    """A case, ready for the template.

    Attributes:
        id: The item's.
        prompt: What was asked.
        image: As a data URL; empty where it could not be had.
        fields: What the item is sliced by.
        compared: How many sides the table has; 0 without a table.
        rows: A field each: its name, the right value, each side's value and whether it is right.
        reference: What is right; None where that is not known, or the table says it.
        answers: Those that are not in the table.
    """

    id: str
    prompt: str
    image: str
    fields: Mapping[str, str]
    compared: int
    rows: list[tuple[str, str, list[tuple[str, bool]]]]
    reference: str | None
    answers: list[Answer]


def shown(case: Case) -> Shown:
    """What the page shows of a case: field by field where there is a record to compare."""
    item, sides = case.item, "AB"[: len(case.replies)]
    right = item.record
    found = [None if right is None else parse_record(one.answer or "") for one in case.replies]
    common = (item.id, _cut(item.prompt), case.image, item.fields)
    if right is None or all(one is None for one in found):
        reference, nearest = _reference(case)
        answers = list(map(_answer, sides, case.replies, [nearest] * len(sides)))
        return Shown(*common, 0, [], reference, answers)
    names = dict.fromkeys([*right, *(name for one in found for name in one or ())])
    rows = [
        (name[:_MAX_CHARS], _value(right, name), [_cell(one, right, name) for one in found])
        for name in names
    ]
    broken = [
        _answer(side, reply, "")
        for side, reply, one in zip(sides, case.replies, found, strict=True)
        if one is None
    ]
    return Shown(*common, len(sides), rows, None, broken)


def _cell(
    found: Mapping[str, object] | None, right: Mapping[str, Value], name: str
) -> tuple[str, bool]:
    if found is None:
        return _ABSENT, True
    same = (name in found) == (name in right) and is_same(found.get(name), right.get(name))
    return _value(found, name), same


def _value(record: Mapping[str, object], name: str) -> str:
    return _cut(json.dumps(record[name], ensure_ascii=False)) if name in record else _ABSENT


def _reference(case: Case) -> tuple[str | None, str]:
    """What is right, and the text that answers are compared with: without one, A's answer."""
    item = case.item
    right: Sequence[str] = list(dict.fromkeys(item.references))
    if item.record is not None:
        right = [json.dumps(dict(item.record), ensure_ascii=False)]
    if not right:
        return None, case.replies[0].answer or ""
    return _cut(" / ".join(right)), right[0]


def _answer(side: str, reply: Reply, right: str) -> Answer:
    if reply.answer is None:
        return Answer(side, [], f"{reply.error}: {reply.message}")
    said = _cut(reply.answer)
    marked = diff_words(_cut(right), said) if right else [(Part.SAME, said)]
    return Answer(side, [(part.value, text) for part, text in marked], "")


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_CHARS else text[:_MAX_CHARS] + "\N{HORIZONTAL ELLIPSIS}"
