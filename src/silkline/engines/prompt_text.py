"""Makes clients' text safe for a prompt, for every engine.

A model tells turns, images and text apart by special tokens. Text from a client that spells such a
token must not be tokenized as one, so a zero-width character is inserted into it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from silkline.core import ImagePart, Message, Part, TextPart
from silkline.errors import InvalidRequest

ZERO_WIDTH_SPACE = "\u200b"


class SafeText:
    """Breaks up special tokens of a model in text from clients."""

    def __init__(self, reserved: Iterable[str], patterns: Iterable[str] = ()) -> None:
        """Compiles the tokens into one regular expression.

        Args:
            reserved: Special tokens as text; empty and blank ones are ignored, as they are
                ordinary text.
            patterns: Regular expressions that match further special tokens.
        """
        words = _prefix_patterns([token for token in set(reserved) if token.strip()])
        alternatives = "|".join([*patterns, *words]) or "(?!)"
        # A lookahead also finds tokens that overlap.
        self._token_start = re.compile(f"(?={alternatives})")

    def text(self, text: str) -> str:
        """Returns a text from a client with its special tokens broken up."""
        breaks = [match.start() + 1 for match in self._token_start.finditer(text)]
        return _insert_breaks(text, 0, len(text), breaks)

    def value(self, value: Any) -> Any:
        """Returns a JSON value from a client with the special tokens in its texts broken up."""
        match value:
            case str():
                return self.text(value)
            case list():
                return [self.value(item) for item in value]
            case dict():
                return {self.text(name): self.value(item) for name, item in value.items()}
        return value

    def raw(self, messages: Iterable[Message]) -> str:
        """Returns the text of a raw prompt: that of all messages, joined."""
        parts = (part for message in messages for part in self.parts(message))
        return "".join(part for part in parts if isinstance(part, str))

    def parts(self, message: Message) -> Iterator[str | ImagePart]:
        """Yields safe texts and images in order; adjacent texts are joined.

        A token may be split over several text parts, and a chat template may move the images
        between them elsewhere. So tokens are searched in the joined text of the whole message.
        """
        whole = "".join(part.text for part in _texts(message.parts))
        breaks = [match.start() + 1 for match in self._token_start.finditer(whole)]
        end = 0
        for is_text, group in itertools.groupby(message.parts, _is_text):
            if not is_text:
                yield from _images(group)
                continue
            start, end = end, end + sum(len(part.text) for part in _texts(group))
            yield _insert_breaks(whole, start, end, breaks)


def _prefix_patterns(words: Iterable[str]) -> list[str]:
    """Returns regular expressions that match the starts of words, one per first character.

    Some tokenizers have thousands of special tokens. Trying each at every character of a text
    would block the interpreter for seconds. Like a trie, these patterns try a shared prefix once.
    """
    by_first: dict[str, list[str]] = {}
    for word in words:
        by_first.setdefault(word[0], []).append(word)
    patterns = []
    for _, group in sorted(by_first.items()):
        prefix = _common_prefix(group)
        rest = [] if prefix in group else _prefix_patterns(word[len(prefix) :] for word in group)
        patterns.append(re.escape(prefix) + (f"(?:{'|'.join(rest)})" if rest else ""))
    return patterns


def _common_prefix(words: Sequence[str]) -> str:
    """Returns the longest prefix that all words share."""
    # A prefix of the first and the last word in sorted order is a prefix of all between them.
    first, last = min(words), max(words)
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    return "".join(character for character, _ in same)


def check_image_indices(messages: Sequence[Message], images: int) -> None:
    """Checks that the messages refer to each image once, in order.

    Raises:
        InvalidRequest: They do not.
    """
    indices = [part.index for message in messages for part in _images(message.parts)]
    if indices != list(range(images)):
        raise InvalidRequest(
            f"The messages refer to the images {indices}, but {images} were sent. "
            "Refer to each image once, in order."
        )


def _is_text(part: Part) -> bool:
    return isinstance(part, TextPart)


def _images(parts: Iterable[Part]) -> list[ImagePart]:
    return [part for part in parts if isinstance(part, ImagePart)]


def _texts(parts: Iterable[Part]) -> list[TextPart]:
    return [part for part in parts if isinstance(part, TextPart)]


def _insert_breaks(text: str, start: int, end: int, breaks: Sequence[int]) -> str:
    """Returns `text[start:end]` with a zero-width space at each index of `breaks` inside it."""
    cuts = [start, *(index for index in breaks if start <= index < end), end]
    return ZERO_WIDTH_SPACE.join(text[left:right] for left, right in itertools.pairwise(cuts))
