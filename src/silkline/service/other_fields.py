"""Fields of a request's body that no route here supports: passed on, ignored or refused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from silkline.config import RemoteSettings
from silkline.core import EngineInfo, Feature
from silkline.engines.remote.extra import passed_on
from silkline.errors import InvalidRequest

MAX_REPORTED = 16
"""Maximum number of ignored fields that are reported; the first ones are."""


@dataclass(frozen=True, slots=True)
class OtherField:
    """A field that no route here supports.

    Attributes:
        path: Its path in the body, such as `mood` or `messages.3.mood`.
        value: Its value; None below the top level, where fields are never passed on.
        refusal: The error to raise where the field is not passed on; None if it can be ignored,
            because it is unknown.
        silent: Whether it never changes the answer here. It is passed on only where the settings
            name it, because it may identify people, and is never reported as ignored.
    """

    path: str
    value: Any = None
    refusal: InvalidRequest | None = None
    silent: bool = False


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
        those to report as ignored.

    Raises:
        InvalidRequest: A field may change the answer, and is not passed on.
    """
    if not others:
        return "", ()
    if Feature.EXTRA not in info.features:
        remotes = ()
    allowed = _allowed((other for other in others if not other.silent), remotes)
    allowed |= _allowed((other for other in others if other.silent), _without_wildcard(remotes))
    passed: dict[str, Any] = {}
    ignored: list[str] = []
    for other in others:
        if other.path in allowed:
            passed[other.path] = other.value
        elif other.refusal is not None:
            raise other.refusal
        elif not other.silent:
            ignored.append(other.path)
    return _text(passed), tuple(ignored[:MAX_REPORTED])


def _allowed(others: Iterable[OtherField], remotes: Sequence[RemoteSettings]) -> frozenset[str]:
    """The names of the fields that all remotes may get."""
    values = {other.path: other.value for other in others if other.value is not None}
    return passed_on(values, remotes)


def _without_wildcard(remotes: Sequence[RemoteSettings]) -> list[RemoteSettings]:
    """The settings without the pattern that passes all fields."""
    return [
        remote.model_copy(
            update={"pass_fields": tuple(each for each in remote.pass_fields if each.strip("*"))}
        )
        for remote in remotes
    ]


def _text(passed: dict[str, Any]) -> str:
    if not passed:
        return ""
    try:
        return msgspec.json.encode(passed).decode()
    except UnicodeEncodeError as error:
        raise InvalidRequest(
            "A text contains an unpaired surrogate, which is not a character; send valid Unicode."
        ) from error
