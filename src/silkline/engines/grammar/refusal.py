"""How a constraint that cannot be enforced is refused."""

from __future__ import annotations

from silkline.core import ConstraintKind
from silkline.errors import InvalidRequest


class Unsupported(ValueError):
    """A constraint, or a part of it, cannot be enforced; the message is for the client."""


_WORDS = {
    ConstraintKind.JSON_OBJECT: "The constraint",
    ConstraintKind.JSON_SCHEMA: "The schema",
    ConstraintKind.REGEX: "The regular expression",
    ConstraintKind.CHOICE: "The list of choices",
    ConstraintKind.GRAMMAR: "The grammar",
}


def refused(kind: ConstraintKind, reason: str) -> InvalidRequest:
    """Returns the error for a constraint that cannot be enforced.

    Args:
        kind: What the constraint is.
        reason: The end of the sentence that starts with the constraint's kind, and what to do.
    """
    param = "response_format" if kind.value.startswith("json") else "structured_outputs"
    return InvalidRequest(f"{_WORDS[kind]} {reason}", param=param)
