"""Checks a constraint and turns it into a grammar."""

from __future__ import annotations

import msgspec

from silkline.core import Constraint, ConstraintKind
from silkline.engines.grammar import ebnf, regex
from silkline.engines.grammar.check import check
from silkline.engines.grammar.json_schema import any_object, from_schema
from silkline.engines.grammar.nodes import Grammar, literals
from silkline.engines.grammar.refusal import Unsupported, refused
from silkline.errors import UNDECODABLE


def grammar_of(constraint: Constraint) -> Grammar:
    """Returns the grammar of the answers that a constraint allows.

    Raises:
        InvalidRequest: The constraint is invalid, too large, or cannot be enforced.
    """
    try:
        grammar = _translated(constraint)
        check(grammar)
    except Unsupported as error:
        raise refused(constraint.kind, str(error)) from error
    return grammar


def _translated(constraint: Constraint) -> Grammar:
    match constraint.kind:
        case ConstraintKind.JSON_OBJECT:
            return any_object()
        case ConstraintKind.JSON_SCHEMA:
            return from_schema(constraint.text)
        case ConstraintKind.REGEX:
            return Grammar({"root": regex.whole(constraint.text)})
        case ConstraintKind.CHOICE:
            return Grammar({"root": literals(_choices(constraint.text))})
        case ConstraintKind.GRAMMAR:
            return ebnf.parse(constraint.text)


def _choices(text: str) -> list[str]:
    try:
        choices = msgspec.json.decode(text, type=list[str])
    except UNDECODABLE as error:
        raise Unsupported("is not a list of strings. Correct it.") from error
    if not any(choices):
        raise Unsupported("has no choice with a character. Add one.")
    return choices
