"""Reading and scoring the records that the model writes."""

from __future__ import annotations

import json
from typing import Any, Final

from recipes.mini.scene import Scene

FIELDS: Final = ("category", "colour", "pattern", "count", "label")
"""The keys of a record, in the order in which the model writes them."""


def parse_record(text: str) -> dict[str, Any] | None:
    """Return the record in ``text``, or None where it is not JSON with exactly our fields."""
    try:
        record = json.loads(text)
    except ValueError:
        return None
    return record if isinstance(record, dict) and set(record) == set(FIELDS) else None


def score_records(answers: list[str], scenes: list[Scene]) -> dict[str, float]:
    """Return the share of valid records and of right fields (a broken record has none right)."""
    totals = dict.fromkeys(("valid", *FIELDS, "both", "all"), 0)
    for answer, scene in zip(answers, scenes, strict=True):
        record, truth = parse_record(answer), scene.record()
        if record is None:
            continue
        right = {name: record[name] == truth[name] for name in FIELDS}
        totals["valid"] += 1
        for name in FIELDS:
            totals[name] += right[name]
        totals["both"] += right["category"] and right["colour"]
        totals["all"] += all(right.values())
    return {name: value / len(scenes) for name, value in totals.items()}
