"""Turns the token ids of an answer into text, chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from silkline.core import TokenLogprob
from silkline.errors import InvalidRequest

REPLACEMENT = "\ufffd"
"""The character that decoders insert for bytes that do not form a character, or not yet."""

MAX_CHARACTER_BYTES = 4
"""Length of the longest UTF-8 sequence; a character takes at most this many byte tokens."""

CONTEXT_TOKENS = 8
"""Tokens that are decoded again as the left context of new ones: at least two characters, and
enough for decoders that treat the first token of a text differently."""


class TextStream:
    """Turns the tokens of one answer into text chunks that can be sent at once.

    The joined chunks are the text of all tokens, cut before the first stop string, or behind it if
    `include_stop` is set. The first stop string is the one that is complete first; if several end
    at the same character, the longest. This does not depend on how the text is split into tokens.
    Text is held back only while it may still change: an incomplete character at the end, or the
    start of a stop string.

    Each token costs the decoding of a bounded number of tokens, however long the answer is. This
    requires of `decode`, as tokenizers guarantee, that more tokens only lengthen the text, except
    for replacement characters at its end.
    """

    def __init__(
        self,
        decode: Callable[[Sequence[int]], str],
        stop: Sequence[str] = (),
        *,
        include_stop: bool = False,
    ) -> None:
        """Starts an answer.

        Args:
            decode: Converts token ids to text; incomplete bytes become U+FFFD.
            stop: The stop strings.
            include_stop: Whether the stop string that ends the text is a part of it.

        Raises:
            InvalidRequest: A stop string is empty.
        """
        if "" in stop:
            raise InvalidRequest("A stop string is empty; leave it out.", param="stop")
        self._decode = decode
        self._stop = tuple(stop)
        self._include_stop = include_stop
        self._window: list[int] = []
        self._text = ""  # the window's text
        self._sent = 0  # characters of the window's text that were passed to the stop search
        self._held = ""  # searched, but may be the start of a stop string
        self._open = 0  # tokens since the text last ended with a complete character
        self._limit = 2 * CONTEXT_TOKENS
        self.found = ""
        """The stop string that ended the text; empty if none was found."""
        self._dropped = 0  # characters of the text before the window
        self._returned = 0
        self._change = (0, "", "")  # the last push: characters before the window, old text, new

    @property
    def returned(self) -> int:
        """Number of characters that were returned so far."""
        return self._returned

    @property
    def changed_from(self) -> int:
        """Index of the first character of the text that the last push added or changed."""
        dropped, old, new = self._change
        same = min(len(old), len(new))
        pairs = enumerate(zip(old, new, strict=False))
        return dropped + next((index for index, (one, other) in pairs if one != other), same)

    @property
    def stopped(self) -> bool:
        """Whether a stop string was found; no text follows it."""
        return bool(self.found)

    def push(self, tokens: Sequence[int]) -> str:
        """Adds the next tokens and returns the text that is now final; it is often empty."""
        if self.stopped:
            return ""
        self._window.extend(tokens)
        old, self._text = self._text, self._decode(self._window)
        self._change = (self._dropped, old, self._text)
        certain = len(self._text) - self._unsure(len(tokens))
        chunk = self._text[self._sent : certain]
        self._sent = max(self._sent, certain)
        if len(self._window) > self._limit and not 0 < self._open < MAX_CHARACTER_BYTES:
            self._shorten()
        return self._return(self._search(chunk))

    def finish(self) -> str:
        """Returns the remaining text after the last token."""
        if self.stopped:
            return ""
        chunk = self._search(self._text[self._sent :])
        if self.found:
            return self._return(chunk)
        rest, self._held = chunk + self._held, ""
        self._sent = len(self._text)
        return self._return(rest)

    def _return(self, chunk: str) -> str:
        self._returned += len(chunk)
        return chunk

    def _unsure(self, new_tokens: int) -> int:
        """Returns how many characters at the end of the text may still change."""
        replaced = len(self._text) - len(self._text.rstrip(REPLACEMENT))
        if not replaced:
            self._open = 0
            return 0
        self._open += new_tokens if self._open else 1
        if self._open < MAX_CHARACTER_BYTES:
            # Some decoders replace all bytes of a run until its last character is complete.
            return replaced
        # No character takes this many tokens: these bytes never become text.
        return min(replaced, MAX_CHARACTER_BYTES - 1)

    def _shorten(self) -> None:
        """Drops tokens that can no longer change the text, but keeps some as context."""
        for start in range(CONTEXT_TOKENS, CONTEXT_TOKENS + MAX_CHARACTER_BYTES):
            window = self._window[-start:]
            text = self._decode(window)
            sent = self._sent - (len(self._text) - len(text))
            # This fails if the cut splits a character, or text that may still change.
            if sent >= 0 and self._text.endswith(text):
                self._dropped += len(self._text) - len(text)
                self._window, self._text, self._sent = window, text, sent
                self._limit = len(window) + CONTEXT_TOKENS
                return
        self._limit = 2 * len(self._window)

    def _search(self, chunk: str) -> str:
        """Searches held-back text and `chunk` for stop strings; returns what can be sent."""
        if not self._stop:
            return chunk
        text = self._held + chunk
        found = [(at + len(stop), at, stop) for stop in self._stop if (at := text.find(stop)) >= 0]
        if found:
            end, start, self.found = min(found)
            self._held = ""
            return text[: end if self._include_stop else start]
        hold = max(_overlap(text, stop) for stop in self._stop)
        self._held = text[len(text) - hold :]
        return text[: len(text) - hold]


class LogprobStream:
    """Holds back the log-probabilities of tokens until the text of the tokens is returned.

    Those of tokens that lie wholly behind the end of the text, as a stop string cut it, are
    dropped. Tokens that share a character are held back until it is complete.
    """

    def __init__(self, text: TextStream) -> None:
        """Follows `text`, to which the tokens are pushed one at a time."""
        self._text = text
        self._waiting: list[tuple[int, TokenLogprob]] = []

    def add(self, logprob: TokenLogprob) -> None:
        """Adds the log-probability of the token that was just pushed to the text."""
        start = self._text.changed_from
        # A token that completes a character changes what the tokens before it added.
        self._waiting = [(min(other, start), held) for other, held in self._waiting]
        self._waiting.append((start, logprob))

    def take(self, *, ended: bool = False) -> tuple[TokenLogprob, ...]:
        """Returns those whose text was returned since the last call.

        Args:
            ended: Whether the text has ended; then the last tokens may be ones without text.
        """
        if not self._waiting:
            return ()
        end = self._text.returned
        every = ended and not self._text.stopped
        ready = [logprob for start, logprob in self._waiting if every or start < end]
        self._waiting = self._waiting[len(ready) :]
        return tuple(ready)


def _overlap(text: str, stop: str) -> int:
    """Returns the length of the longest suffix of `text` that is a proper prefix of `stop`."""
    at = text.find(stop[0], max(0, len(text) - len(stop) + 1))
    while at >= 0:
        if stop.startswith(text[at:]):
            return len(text) - at
        at = text.find(stop[0], at + 1)
    return 0
