"""Fields of a request's body that no route here supports: passed on, ignored or refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from silkline.config import RemoteSettings
from silkline.core import EngineInfo, Feature
from silkline.engines.remote.extra import passed_on
from silkline.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class OtherField:
    """A field that no route here supports.

    Attributes:
        path: Its path in the body, such as `mood` or `messages.3.mood`.
        value: Its value; None below the top level, where fields are never passed on.
        refusal: The error to raise where the field is not passed on; None if it can be ignored,
            because it is unknown.
    """

    path: str
    value: Any = None
    refusal: InvalidRequest | None = None


def sort_fields(
    others: Sequence[OtherField], info: EngineInfo, remotes: Sequence[RemoteSettings] = ()
) -> tuple[str, tuple[str, ...]]:
    """Decides what becomes of the fields with the chosen model.

    Args:
        others: The fields.
        info: What the model's engine is.
        remotes: The remote servers that may compute an answer.

    Returns:
        The fields to pass on, as the text of a JSON object, or an empty text; and the paths of
        those to ignore.

    Raises:
        InvalidRequest: A field may change the answer, and is not passed on.
    """
    if not others:
        return "", ()
    values = {other.path: other.value for other in others if other.value is not None}
    allowed = passed_on(values, remotes if Feature.EXTRA in info.features else ())
    passed: dict[str, Any] = {}
    ignored: list[str] = []
    for other in others:
        if other.path in allowed:
            passed[other.path] = other.value
        elif other.refusal is not None:
            raise other.refusal
        else:
            ignored.append(other.path)
    return msgspec.json.encode(passed).decode() if passed else "", tuple(ignored)
