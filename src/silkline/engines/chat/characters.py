"""Reads a text that arrives in chunks character by character, in coroutines that wait for more."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from typing import TypeVar

T = TypeVar("T")

Read = Generator[None, str, T]
"""A coroutine that gets a character at each `yield`, and an empty text at the end; returns a T."""


class TooLongError(Exception):
    """More was read since the mark than is allowed."""


class Characters:
    """The characters of one text, with lookahead.

    What a coroutine makes of the text depends on the characters alone, not on the chunks.
    """

    def __init__(self) -> None:
        self._ahead: deque[str] = deque()
        self._marked: list[str] | None = None
        self._maximum = 0
        self._ended = False

    @property
    def at_end(self) -> bool:
        """Whether all has been read."""
        return self._ended and not self._ahead

    def next(self) -> Read[str]:
        """Reads the next character; empty at the end.

        Raises:
            TooLongError: More than the maximum was read since the mark.
        """
        char = self._ahead.popleft() if self._ahead else ""
        if not char and not self._ended:
            char = yield
            self._ended = not char
        if char and self._marked is not None:
            self._marked.append(char)
            if len(self._marked) > self._maximum:
                raise TooLongError
        return char

    def unread(self, text: str) -> None:
        """Puts text back that was read last."""
        self._ahead.extendleft(reversed(text))
        if self._marked and text:
            del self._marked[-len(text) :]

    def mark(self, maximum: int) -> None:
        """Remembers where `rewind` returns to; `maximum` characters may be read from there."""
        self._marked, self._maximum = [], maximum

    def rewind(self) -> int:
        """Puts all back that was read since the mark, and returns its length."""
        marked, self._marked = self._marked or [], None
        self._ahead.extendleft(reversed(marked))
        return len(marked)

    def release(self) -> None:
        """Removes the mark."""
        self._marked = None

    def match(self, words: Sequence[str]) -> Read[str]:
        """Reads one of the words if it is next and returns it; else reads nothing.

        Args:
            words: None of them is the start of another.
        """
        held = yield from self.next()
        if not held or held not in {word[0] for word in words}:
            self.unread(held)
            return ""
        while held not in words:
            char = yield from self.next()
            held += char
            if not char or not any(word.startswith(held) for word in words):
                self.unread(held)
                return ""
        return held

    def skip(self, allowed: str) -> Read[str]:
        """Reads characters as long as they are allowed, and returns them."""
        skipped = ""
        while True:
            char = yield from self.next()
            if not char or char not in allowed:
                self.unread(char)
                return skipped
            skipped += char

    def until(self, end: str, maximum: int | None = None) -> Read[tuple[str, bool]]:
        """Reads up to a word, which is read but not returned.

        Args:
            end: The word.
            maximum: Maximum characters to read before it; None means no maximum.

        Returns:
            The text before the word, and whether the word was found.
        """
        read: list[str] = []
        while maximum is None or len(read) <= maximum:
            if (yield from self.match((end,))):
                return "".join(read), True
            char = yield from self.next()
            if not char:
                break
            read.append(char)
        return "".join(read), False
