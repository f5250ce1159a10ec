"""What clients wrote, made safe for a prompt, whichever engine reads it.

A model tells turns, pictures and text apart by special tokens. One that a client typed as text must
not be read as one: it is broken by a character that has no width.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence

from silkline.core import ImagePart, Message, Part, TextPart
from silkline.errors import InvalidRequest

ZERO_WIDTH_SPACE = "\u200b"


class SafeText:
    """Breaks the special tokens of a model in what clients wrote."""

    def __init__(self, reserved: Iterable[str], patterns: Iterable[str] = ()) -> None:
        """Learns what to break.

        Args:
            reserved: Special tokens as text; empty ones and blank ones are left alone, since these
                are ordinary text.
            patterns: Regular expressions of more of them.
        """
        words = _one_of([token for token in set(reserved) if token.strip()])
        alternatives = "|".join([*patterns, *words]) or "(?!)"
        # Looks ahead, so that tokens which overlap are all found.
        self._begins = re.compile(f"(?={alternatives})")

    def parts(self, message: Message) -> Iterator[str | ImagePart]:
        """Texts and pictures in order; text that stands together comes as one.

        A token may be split over several texts, and a chat template may put the pictures between
        them elsewhere: so it is looked for in all texts of the message as one.
        """
        whole = "".join(part.text for part in _texts(message.parts))
        breaks = [found.start() + 1 for found in self._begins.finditer(whole)]
        end = 0
        for is_text, group in itertools.groupby(message.parts, _is_text):
            if not is_text:
                yield from _images(group)
                continue
            start, end = end, end + sum(len(part.text) for part in _texts(group))
            yield _broken(whole, start, end, breaks)


def _one_of(words: Iterable[str]) -> list[str]:
    """Regular expressions that find the beginnings of words, one for each first character.

    Some tokenizers have thousands of special tokens. Tried one by one at each character of a text,
    they would hold the interpreter for seconds; what they have in common is tried once instead.
    """
    by_first: dict[str, list[str]] = {}
    for word in words:
        by_first.setdefault(word[0], []).append(word)
    found = []
    for _, alike in sorted(by_first.items()):
        common = _common(alike)
        rest = [] if common in alike else _one_of(word[len(common) :] for word in alike)
        found.append(re.escape(common) + (f"(?:{'|'.join(rest)})" if rest else ""))
    return found


def _common(words: Sequence[str]) -> str:
    """The characters with which all words begin."""
    # What the first and the last in order have in common, those between them have, too.
    first, last = min(words), max(words)
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    return "".join(character for character, _ in same)


def check_places(messages: Sequence[Message], images: int) -> None:
    """Checks that the messages point at each picture once, in order.

    Raises:
        InvalidRequest: They point at other pictures than there are.
    """
    placed = [part.index for message in messages for part in _images(message.parts)]
    if placed != list(range(images)):
        raise InvalidRequest(
            f"The messages point at the pictures {placed}, but {images} came. "
            "Point at each picture once, in order."
        )


def _is_text(part: Part) -> bool:
    return isinstance(part, TextPart)


def _images(parts: Iterable[Part]) -> list[ImagePart]:
    return [part for part in parts if isinstance(part, ImagePart)]


def _texts(parts: Iterable[Part]) -> list[TextPart]:
    return [part for part in parts if isinstance(part, TextPart)]


def _broken(whole: str, start: int, end: int, breaks: Sequence[int]) -> str:
    """A range of a text with the character at those of the places that lie in it."""
    places = [start, *(place for place in breaks if start <= place < end), end]
    return ZERO_WIDTH_SPACE.join(whole[here:there] for here, there in itertools.pairwise(places))
