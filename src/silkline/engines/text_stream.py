"""Turns the token ids of an answer into text, chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from silkline.errors import InvalidRequest

REPLACEMENT = "\ufffd"
"""What decoders put where bytes are not, or not yet, a character."""

MAX_CHARACTER_BYTES = 4
"""The longest UTF-8 sequence; one character is at most that many byte tokens."""

CONTEXT_TOKENS = 8
"""Tokens that are decoded again as the left context of new ones: two characters at the least, and
enough for decoders that treat the first token of a text differently."""


class TextStream:
    """Turns the tokens of one answer into pieces of text that can be sent at once.

    The pieces put together are the text of all tokens, cut before the first stop string. First is
    the stop string that is complete first; when several end at the same character, the longest.
    This does not depend on how the text is split into tokens. Text is held back only while it may
    still change: an incomplete character at the end, or the beginning of a stop string.

    Each token costs the decoding of a bounded number of tokens, however long the answer is. For
    that, `decode` must be what tokenizers are: more tokens only lengthen the text, but for
    replacement characters at its end.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], stop: Sequence[str] = ()) -> None:
        """Starts an answer.

        Args:
            decode: Token ids to text; incomplete bytes become U+FFFD.
            stop: The stop strings.

        Raises:
            InvalidRequest: A stop string is empty.
        """
        if "" in stop:
            raise InvalidRequest("A stop string is empty; leave it out.", param="stop")
        self._decode = decode
        self._stop = tuple(stop)
        self._window: list[int] = []
        self._text = ""  # of the window
        self._sent = 0  # characters of the window's text that went to the search for stops
        self._held = ""  # searched, but it may be the beginning of a stop string
        self._open = 0  # tokens since the text last ended with a whole character
        self._limit = 2 * CONTEXT_TOKENS
        self._stopped = False

    @property
    def stopped(self) -> bool:
        """Whether a stop string has come; nothing is given out after it."""
        return self._stopped

    def push(self, tokens: Sequence[int]) -> str:
        """Takes the next tokens and gives the text that is now certain; often it is empty."""
        if self._stopped:
            return ""
        self._window.extend(tokens)
        self._text = self._decode(self._window)
        certain = len(self._text) - self._unsure(len(tokens))
        chunk = self._text[self._sent : certain]
        self._sent = max(self._sent, certain)
        if len(self._window) > self._limit and not 0 < self._open < MAX_CHARACTER_BYTES:
            self._shorten()
        return self._search(chunk)

    def finish(self) -> str:
        """Gives the rest, when no more tokens will come."""
        if self._stopped:
            return ""
        chunk = self._search(self._text[self._sent :])
        if self.stopped:
            return chunk
        rest, self._held = chunk + self._held, ""
        self._sent = len(self._text)
        return rest

    def _unsure(self, new_tokens: int) -> int:
        """How many characters at the end of the text may still become others."""
        replaced = len(self._text) - len(self._text.rstrip(REPLACEMENT))
        if not replaced:
            self._open = 0
            return 0
        self._open += new_tokens if self._open else 1
        if self._open < MAX_CHARACTER_BYTES:
            # Some decoders replace all bytes of a run until the last character of it is whole.
            return replaced
        # No character takes so many tokens: these are bytes that never become text.
        return min(replaced, MAX_CHARACTER_BYTES - 1)

    def _shorten(self) -> None:
        """Forgets tokens that can no longer change the text, and keeps a context of some."""
        for start in range(CONTEXT_TOKENS, CONTEXT_TOKENS + MAX_CHARACTER_BYTES):
            window = self._window[-start:]
            text = self._decode(window)
            sent = self._sent - (len(self._text) - len(text))
            # Not so when the cut went through a character, or through what is still uncertain.
            if sent >= 0 and self._text.endswith(text):
                self._window, self._text, self._sent = window, text, sent
                self._limit = len(window) + CONTEXT_TOKENS
                return
        self._limit = 2 * len(self._window)

    def _search(self, chunk: str) -> str:
        """Looks for stop strings in what was held back and `piece`; gives what is before them."""
        if not self._stop:
            return chunk
        text = self._held + chunk
        found = [(at + len(stop), at) for stop in self._stop if (at := text.find(stop)) >= 0]
        if found:
            self._stopped = True
            self._held = ""
            return text[: min(found)[1]]
        hold = max(_overlap(text, stop) for stop in self._stop)
        self._held = text[len(text) - hold :]
        return text[: len(text) - hold]


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop`, but is not all of it."""
    at = text.find(stop[0], max(0, len(text) - len(stop) + 1))
    while at >= 0:
        if stop.startswith(text[at:]):
            return len(text) - at
        at = text.find(stop[0], at + 1)
    return 0
