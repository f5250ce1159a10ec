"""Which choice a reference means: its text, its letter, or its index from 0."""

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
    """A reference to one of the choices of a row, as the row has it.

    Attributes:
        where: File and line, for messages.
        column: The column of the reference.
        choices: The texts of the choices.
        said: An integer where the row has one, else a text.
        untyped: Whether the file holds only text, so that "2" may be an integer.
        lettered: Whether the choices stand in columns A, B and so on.
    """

    where: str
    column: str
    choices: tuple[str, ...]
    said: int | str
    untyped: bool = False
    lettered: bool = False

    @property
    def number(self) -> int | None:
        """The integer that the reference is or spells."""
        if isinstance(self.said, int):
            return self.said
        match = _INTEGER.match(self.said)
        return int(match[1]) if match else None

    def ways(self) -> Mapping[Way, str]:
        """The choices that the reference may mean."""
        found: dict[Way, str] = {}
        said = str(self.said)
        if said in self.choices:
            found[Way.TEXT] = said
        elif (same := [one for one in self.choices if _plain(one) == _plain(said)]) and not same[
            1:
        ]:
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
    """Finds the choice that each reference of a set means.

    A reference that may mean two choices is read as those of the set that can be read in one way
    only. Where none of them decides, an integer is an index and a text is a text; in a file that
    holds only text, such a number is refused.

    Raises:
        ConfigError: A reference means no choice, or two; or indexes begin at 1.
    """
    ways = [pick.ways() for pick in picks]
    integers = [isinstance(pick.said, int) for pick in picks]
    _check_base(picks, ways)
    decided = _decided(ways)
    decided_integers = _decided(
        [one for one, is_integer in zip(ways, integers, strict=True) if is_integer]
    )
    return [
        _choose(pick, found, decided_integers if is_integer else decided)
        for pick, found, is_integer in zip(picks, ways, integers, strict=True)
    ]


def _decided(ways: Sequence[Mapping[Way, str]]) -> set[Way]:
    """The ways of those references that can be read in one way only."""
    return {next(iter(found)) for found in ways if len(found) == 1}


def _choose(pick: Pick, ways: Mapping[Way, str], decided: set[Way]) -> str:
    if not ways:
        raise ConfigError(
            f"{pick.where} needs as its reference one of its choices, word for word, its letter or "
            f"its index from 0; the column {pick.column} has {str(pick.said)[:60]!r} for "
            f"{len(pick.choices)} choices."
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
    """Raises `ConfigError` where integers fit as indexes from 1 only."""
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
            "choices, and no row has 0: its indexes seem to begin at 1, but here they begin at 0. "
            "Subtract 1 from each, or write letters."
        )


def _plain(text: str) -> str:
    """A text as it is compared: an integer without the decimals that a data frame adds."""
    match = _INTEGER.match(text)
    return str(int(match[1])) if match else text.strip()
