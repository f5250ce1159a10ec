"""Resolves a reference to one of a row's choices: by text, by letter, or by index from 0."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from silkline.errors import ConfigError

MAX_CHOICES = len(string.ascii_uppercase)

_LETTER = re.compile(r"\s*\(?([A-Za-z])[.):]?\s*\Z")
_INTEGER = re.compile(r"\s*(\d{1,9})(\.0+)?\s*\Z", re.ASCII)


class Way(Enum):
    """How a reference names a choice."""

    TEXT = "its text"
    LETTER = "its letter"
    INDEX = "its index"


@dataclass(frozen=True, slots=True)
class Pick:
    """A reference to one of a row's choices, as read from the row.

    Attributes:
        where: File and line, for messages.
        column: The column of the reference.
        choices: The texts of the choices.
        said: The reference: an integer if the row holds one, else a text.
        untyped: Whether the file format has only text, so that "2" may be an integer.
        lettered: Whether the choices come from columns A, B and so on.
    """

    where: str
    column: str
    choices: tuple[str, ...]
    said: int | str
    untyped: bool = False
    lettered: bool = False

    @property
    def number(self) -> int | None:
        """The reference as an integer; None if it is not one."""
        if isinstance(self.said, int):
            return self.said
        match = _INTEGER.match(self.said)
        return int(match[1]) if match else None

    def ways(self) -> Mapping[Way, str]:
        """The choices that the reference may mean, by how it would name them."""
        found: dict[Way, str] = {}
        said = str(self.said)
        if said in self.choices:
            found[Way.TEXT] = said
        else:
            same = [choice for choice in self.choices if _plain(choice) == _plain(said)]
            if len(same) == 1:
                found[Way.TEXT] = same[0]
        letter = _LETTER.match(said)
        if letter and (index := string.ascii_uppercase.index(letter[1].upper())) < len(
            self.choices
        ):
            found[Way.LETTER] = self.choices[index]
        if self.number is not None and 0 <= self.number < len(self.choices):
            found[Way.INDEX] = self.choices[self.number]
        return found


def resolve(picks: Sequence[Pick]) -> list[str]:
    """Returns the choice that each reference of a data set means.

    An ambiguous reference is read the same way as the unambiguous references of the set. If these
    do not settle it, an integer is an index and a text is a text; in a format that has only text,
    an ambiguous number raises an error.

    Raises:
        ConfigError: A reference matches no choice, or two; or the indexes start at 1.
    """
    ways = [pick.ways() for pick in picks]
    integers = [isinstance(pick.said, int) for pick in picks]
    _check_base(picks, ways)
    decided = _decided(ways)
    decided_integers = _decided(
        [found for found, is_integer in zip(ways, integers, strict=True) if is_integer]
    )
    return [
        _choose(pick, found, decided_integers if is_integer else decided)
        for pick, found, is_integer in zip(picks, ways, integers, strict=True)
    ]


def _decided(ways: Sequence[Mapping[Way, str]]) -> set[Way]:
    """The ways used by the references that can be read in only one way."""
    return {next(iter(found)) for found in ways if len(found) == 1}


def _choose(pick: Pick, ways: Mapping[Way, str], decided: set[Way]) -> str:
    if not ways:
        raise ConfigError(
            f"{pick.where}: the reference in column {pick.column} is {str(pick.said)[:60]!r}, "
            f"which is none of the {len(pick.choices)} choices. Expected the text of a choice, its "
            "letter or its index from 0."
        )
    if len(set(ways.values())) == 1:
        return next(iter(ways.values()))
    if len(decided) == 1 and (way := next(iter(decided))) in ways:
        return ways[way]
    if pick.lettered and Way.LETTER in ways:
        return ways[Way.LETTER]
    if isinstance(pick.said, int):
        return ways[Way.INDEX]
    if pick.untyped and Way.INDEX in ways:
        raise ConfigError(
            f"{pick.where}: the column {pick.column} has {pick.said!r}, which is the text of one "
            "choice and the index of another. Write the letter of the choice instead: A for the "
            "first, B for the second."
        )
    return ways[Way.TEXT]


def _check_base(picks: Sequence[Pick], ways: Sequence[Mapping[Way, str]]) -> None:
    """Raises `ConfigError` if the integers only make sense as indexes from 1."""
    numbered = [
        (pick, pick.number, found)
        for pick, found in zip(picks, ways, strict=True)
        if pick.number is not None
        and (isinstance(pick.said, int) or pick.untyped or Way.TEXT not in found)
    ]
    if not all(1 <= number <= len(pick.choices) for pick, number, _ in numbered):
        return
    last = next((pick for pick, number, _ in numbered if number == len(pick.choices)), None)
    if last is not None and any(
        found.get(Way.TEXT) != pick.choices[number - 1] for pick, number, found in numbered
    ):
        raise ConfigError(
            f"{last.where}: the column {last.column} has {last.said} for {len(last.choices)} "
            "choices, and no row has 0: its indexes seem to start at 1. Expected indexes from 0. "
            "Subtract 1 from each, or write letters."
        )


def _plain(text: str) -> str:
    """A text, stripped; an integer also loses the ".0" that a data frame adds."""
    match = _INTEGER.match(text)
    return str(int(match[1])) if match else text.strip()
