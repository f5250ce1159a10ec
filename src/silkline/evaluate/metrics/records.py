"""Metrics of answers that must be JSON records."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from silkline.errors import UNDECODABLE
from silkline.evaluate.item import Item
from silkline.evaluate.metrics.forms import composed

_FENCE = re.compile(r"\A\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*\Z", re.DOTALL | re.IGNORECASE)


def parse_record(answer: str) -> Mapping[str, Any] | None:
    """Parses an answer as a JSON object, with or without a Markdown fence; None if it is not one.

    Text around the object makes it invalid, because a program could not parse the answer.
    """
    fenced = _FENCE.match(answer)
    try:
        found: Any = msgspec.json.decode(fenced[1] if fenced else answer)
    except UNDECODABLE:
        return None
    return found if isinstance(found, dict) else None


def record(item: Item, answer: str) -> float:
    """1 if the answer has exactly the fields and values of the reference record, else 0."""
    found = parse_record(answer)
    right = item.record or {}
    return float(
        found is not None
        and found.keys() == right.keys()
        and all(is_same(found[name], right[name]) for name in right)
    )


def record_valid(_: Item, answer: str) -> float:
    """1 if the answer is a JSON object, else 0."""
    return float(parse_record(answer) is not None)


def fields(item: Item, answer: str) -> float:
    """Share of the reference's fields that are correct in the answer; 0 to 1."""
    right = item.record or {}
    return sum(field(name, item, answer) for name in right) / len(right) if right else 1.0


def field(name: str, item: Item, answer: str) -> float:
    """1 if a field of the record is correct, else 0; absent in both counts as correct."""
    found, right = parse_record(answer), item.record or {}
    if found is None:
        return 0.0
    if name not in right or name not in found:
        return float((name in right) == (name in found))
    return float(is_same(found[name], right[name]))


def is_same(said: object, right: object) -> bool:
    """Whether two values of a field are equal.

    Compares texts ignoring case and outer spaces, and numbers by value. `true` is not 1,
    and "1" is not 1, because a program that reads the record would distinguish them.
    """
    if isinstance(said, str) and isinstance(right, str):
        return composed(said.strip().casefold()) == composed(right.strip().casefold())
    if isinstance(said, bool) or isinstance(right, bool):
        return said is right
    return said == right
