"""Splits an answer, as it is generated, into reasoning, text and tool calls."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from silkline.core import Delta, FinishReason, Request, Tool
from silkline.engines.chat.call_list import CallList
from silkline.engines.chat.calls import (
    WHITE_SPACE,
    CallFormat,
    CallFrame,
    CallReader,
    NotACallError,
)
from silkline.engines.chat.characters import Characters, Read, TooLongError


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """What may be in an answer besides text.

    Attributes:
        calls: How the model writes calls of tools; None if all is text.
        tools: The tools that it may call.
        parallel: Whether the answer may hold several calls.
        think: The tags around the reasoning, which comes first; None if there is none.
        thinking: Whether the prompt has already opened the reasoning.
        frame: The text around a call's name and arguments; None if calls cannot be forced.
        required: Whether the answer must be a call.
    """

    calls: CallFormat | None = None
    tools: tuple[Tool, ...] = ()
    parallel: bool = True
    think: tuple[str, str] | None = None
    thinking: bool = False
    frame: CallFrame | None = None
    required: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether the whole answer is text."""
        return self.calls is None and self.think is None


PLAIN = AnswerForm()


def call_ids(request: Request) -> Callable[[int], str]:
    """Returns a function from a call's index to its id.

    The ids are random, but the same each time if the request is deterministic.
    """
    if request.sampling.is_deterministic:
        images = [image.digest for image in request.images]
        asked = repr((request.messages, images, request.options, request.sampling))
        seed = hashlib.blake2b(asked.encode("utf-8", "surrogatepass")).digest()
    else:
        seed = secrets.token_bytes()
    return lambda index: "call_" + hashlib.blake2b(seed + b"%d" % index, digest_size=12).hexdigest()


class AnswerParts:
    """The parts of one answer.

    The parts depend on the text alone, not on how it is split into chunks. Text is held back only
    while it may be the start of a tag, and white space while a tag may follow it: at the start,
    after a call, and in the reasoning. What does not turn out to be a call is text.
    """

    def __init__(self, form: AnswerForm = PLAIN, call_id: Callable[[int], str] = str) -> None:
        """Starts an answer; `call_id` makes a call's id from its index."""
        self._form = form
        self._characters = Characters()
        self._calls = CallList(call_id)
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._plain = 0  # number of next characters that are text in any case
        self.thinking = form.thinking
        """Whether the next text is reasoning."""
        self.ended = False
        """Whether all calls were made that are allowed; no part follows."""
        self._reader = None if form.is_plain else self._read()
        if self._reader is not None:
            next(self._reader)

    @property
    def has_calls(self) -> bool:
        """Whether a call has begun."""
        return self._calls.count > 0

    def push(self, text: str) -> Delta:
        """Adds the next text, and returns the parts that are now certain."""
        if self._reader is None:
            return Delta(text)
        for char in text:
            self._send(char)
        return self._take()

    def finish(self, text: str = "") -> Delta:
        """Adds the last text, and returns it with what was held back."""
        if self._reader is None:
            return Delta(text)
        for char in (*text, ""):
            self._send(char)
        return self._take()

    def reason(self, ended: FinishReason) -> FinishReason:
        """Returns the finish reason of an answer whose tokens ended for a reason."""
        calls = ended is FinishReason.STOP and self.has_calls
        return FinishReason.TOOL_CALLS if calls else ended

    def _send(self, char: str) -> None:
        if self._reader is None or self.ended:
            return
        try:
            self._reader.send(char)
        except StopIteration:
            self.ended = True

    def _take(self) -> Delta:
        text, reasoning = "".join(self._text), "".join(self._reasoning)
        self._text.clear()
        self._reasoning.clear()
        return Delta(text, reasoning=reasoning, tool_calls=self._calls.take())

    def _read(self) -> Read[None]:
        if self._form.think is not None:
            yield from self._think(*self._form.think)
        if self._form.calls is None:
            yield from self._rest()
        else:
            yield from self._texts_and_calls(self._form.calls)

    def _think(self, opening: str, closing: str) -> Read[None]:
        """Reads the reasoning, if there is any."""
        space = yield from self._characters.skip(WHITE_SPACE)
        if (yield from self._characters.match((opening,))):
            yield from self._characters.skip(WHITE_SPACE)
        elif not self._form.thinking:
            self._characters.unread(space)
            return
        self.thinking = True
        while True:
            space = yield from self._characters.skip(WHITE_SPACE)
            if (yield from self._characters.match((closing,))):
                break
            char = yield from self._characters.next()
            if not char:
                break
            self._reasoning += (space, char)
        self.thinking = False
        yield from self._characters.skip(WHITE_SPACE)

    def _rest(self) -> Read[None]:
        while char := (yield from self._characters.next()):
            self._text.append(char)

    def _texts_and_calls(self, form: CallFormat) -> Read[None]:
        reader = CallReader(
            self._characters, self._calls, form, self._form.tools, parallel=self._form.parallel
        )
        starts = {opening[0] for opening in form.openings}
        fresh = True  # no text since the start, or since a call: white space is not text yet
        while True:
            if not fresh:
                char = yield from self._characters.next()
                if char and (self._plain or char not in starts):
                    self._plain = max(self._plain - 1, 0)
                    self._text.append(char)
                    continue
                self._characters.unread(char)
            space = (yield from self._characters.skip(WHITE_SPACE)) if fresh else ""
            bare = ("{",) if fresh and form is CallFormat.LLAMA else ()
            opening = yield from self._characters.match((*form.openings, *bare))
            if opening and (yield from self._call(reader, opening)):
                if reader.full:
                    return
                fresh = True
                continue
            char = opening or (yield from self._characters.next())
            if not char:
                if not self.has_calls:
                    self._text.append(space)
                return
            self._text += (space, char)
            fresh = False

    def _call(self, reader: CallReader, opening: str) -> Read[bool]:
        """Reads the calls after an opening; returns whether there are any.

        If it takes many characters, or the whole answer, to find out that there is none, no call
        is sought in these characters: the time would grow with their square.
        """
        before = self._calls.count
        if opening == "{":  # it is the beginning of the call itself
            self._characters.unread(opening)
        try:
            yield from reader.read()
        except (NotACallError, TooLongError) as error:
            whole = isinstance(error, TooLongError) or self._characters.at_end
            length = self._characters.rewind()
            self._plain = length if whole else 0
            if opening == "{" and self._calls.count == before:
                yield from self._characters.next()
        self._characters.release()
        return self._calls.count > before
