"""Scorers that compare two texts by themselves."""

from __future__ import annotations

import json
from typing import Any

from silkline.core import Constraint, ConstraintKind
from silkline.errors import EnvironmentFault
from silkline.evaluate.item import ImageKind, Item, ItemImage
from silkline.evaluate.metrics.records import fields, parse_record
from silkline.evaluate.metrics.text import exact_match
from silkline.experiments.scorers.scorer import Pair, Score, Scorer, Tools

_NO_IMAGE = ItemImage(ImageKind.URL, "")


def agreement_of(reference: str, answer: str) -> float:
    """How far an answer agrees with a reference: 0 to 1.

    If both are JSON objects, the share of the reference's fields that are equal; else whether the
    texts are the same, as `exact_match` compares them.
    """
    record = parse_record(reference)
    if record and parse_record(answer) is not None:
        return fields(Item("", "", "", _NO_IMAGE, "", record=record), answer)
    return exact_match(Item("", "", "", _NO_IMAGE, "", references=(reference,)), answer)


def _agreement(_: Tools) -> Score:
    async def score(pair: Pair) -> float:
        return agreement_of(pair.model, pair.candidate) - 1

    return score


def _schema(_: Tools) -> Score:
    try:
        import jsonschema_rs  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise EnvironmentFault(
            "The scorer schema needs the library jsonschema_rs, which is not installed.",
            remedy="pip install 'silkline[experiments]'",
        ) from error

    def validator(constraint: Constraint) -> jsonschema_rs.Validator | None:
        schema: Any = {"type": "object"}
        if constraint.kind is ConstraintKind.JSON_SCHEMA:
            schema = json.loads(constraint.text)
        elif constraint.kind is not ConstraintKind.JSON_OBJECT:
            return None
        try:
            return jsonschema_rs.validator_for(schema)
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError):
            return None

    def is_valid(text: str, checked: jsonschema_rs.Validator) -> bool:
        try:
            return bool(checked.is_valid(json.loads(text)))
        except (ValueError, RecursionError):
            return False

    async def score(pair: Pair) -> float | None:
        constraint = pair.question.sampling.constraint
        checked = None if constraint is None else validator(constraint)
        if checked is None:
            return None
        return float(is_valid(pair.candidate, checked)) - float(is_valid(pair.model, checked))

    return score


AGREEMENT = Scorer("whether the candidate's answer is the model's, field by field", _agreement)
SCHEMA = Scorer("whether structured answers match the request's JSON schema", _schema)
