"""Assembles an answer from the chunks of a streamed completion, or from a whole one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from math import ceil

import msgspec

from silkline.core import Delta, FinishReason, Sampling, TokenLogprob, ToolCallDelta, Usage, join
from silkline.engines.remote.calls import CallReader
from silkline.engines.remote.chunks import (
    Choice,
    Chunk,
    ChunkDelta,
    Details,
    Logprobs,
    ReportedUsage,
)
from silkline.engines.remote.failures import failure_in_body, lost
from silkline.engines.remote.sse import Event
from silkline.errors import UNDECODABLE, InvalidRequest

CHARACTERS_A_TOKEN = 4
"""For estimates, where a server reports no usage."""

_DONE = b"[DONE]"
_ERROR = b"error"
_STOPPED = frozenset(
    {"stop", "eos", "eos_token", "stop_sequence", "stop_str", "end_turn", "complete", "completed"}
)
_CALLED = frozenset({"tool_calls", "tool_call", "function_call", "tool_use"})
_CUT = frozenset({"length", "max_tokens", "max_length", "model_length"})
_FILTERED = frozenset({"content_filter", "safety", "refusal"})
_FAILED = frozenset({"abort", "aborted", "cancelled", "canceled", "error", "timeout"})


class AnswerReader:
    """Reads the events of one answer; a whole answer is one event.

    Attributes:
        done: Whether the server sent `[DONE]`.
        tokens: Estimated tokens of text, reasoning and tool calls: one for each chunk of a stream,
            one for each `CHARACTERS_A_TOKEN` characters of a whole answer.
        odd_parts: Whether parts of an unknown type came; they are left out.
        stop: The stop string that ended the answer; empty if the server named none of the request.
    """

    def __init__(
        self, sampling: Sampling, sent: Collection[str] = (), *, whole: bool = False
    ) -> None:
        """Starts an answer.

        Args:
            sampling: The sampling settings of the request.
            sent: The names of the fields of the request, for errors.
            whole: Whether the answer comes as one event.
        """
        self.done = False
        self.tokens = 0
        self.odd_parts = False
        self.stop = ""
        self._sampling = sampling
        self._sent = sent
        self._whole = whole
        self._calls = CallReader()
        self._finish: FinishReason | None = None
        self._thoughts = 0
        self._usage: ReportedUsage | None = None

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the answer ended; None until then.

        Servers disagree on the reason of an answer with tool calls; here it is always `TOOL_CALLS`,
        unless the answer was cut.
        """
        if self._finish is None or self._finish is FinishReason.LENGTH:
            return self._finish
        return FinishReason.TOOL_CALLS if self._calls.begun else FinishReason.STOP

    def read(self, event: Event) -> Delta | None:
        """Reads an event; None if it adds nothing to the answer.

        Raises:
            SilklineError: The event reports a failure or is malformed.
        """
        if event.data == _DONE:
            self.done = True
            return None
        try:
            chunk = msgspec.json.decode(event.data, type=Chunk)
        except UNDECODABLE as error:
            raise lost("sent an invalid answer") from error
        if chunk.error is not None or event.type == _ERROR:
            raise failure_in_body(event.data, self._sent)
        if chunk.usage is not None and chunk.usage.prompt_tokens is not None:
            self._usage = chunk.usage
        choices = (self._delta(choice) for choice in chunk.choices or () if not choice.index)
        deltas = [delta for delta in choices if delta is not None]
        return join(deltas) if deltas else None

    def usage(self, estimate: Usage) -> Usage:
        """The usage that the server reported; the estimate if it reported none."""
        reported = self._usage
        if reported is None or reported.prompt_tokens is None:
            return replace(
                estimate, reasoning_tokens=min(self._thoughts, estimate.completion_tokens)
            )
        prompt = reported.prompt_tokens_details or Details()
        answer = reported.completion_tokens_details or Details()
        completion_tokens = reported.completion_tokens or 0
        return Usage(
            reported.prompt_tokens,
            completion_tokens,
            min(_known(prompt.image_tokens, estimate.image_tokens), reported.prompt_tokens),
            min(prompt.cached_tokens or 0, reported.prompt_tokens),
            min(_known(answer.reasoning_tokens, self._thoughts), completion_tokens),
        )

    @property
    def has_usage(self) -> bool:
        """Whether the server reported usage."""
        return self._usage is not None

    def _delta(self, choice: Choice) -> Delta | None:
        if choice.finish_reason:
            self._finish = _finish(choice.finish_reason)
            # Some servers send a reason of their own, such as `end_turn`.
            named = (choice.stop_reason, choice.matched_stop)
            self.stop = next((stop for stop in self._sampling.stop if stop in named), "")
        came = choice.delta or choice.message or ChunkDelta(choice.text)
        text, odd, reasoning = came.text()
        chunks = came.tool_calls or []
        if self._whole:  # their ids may be missing or the same, but each is a call of its own
            for index, chunk in enumerate(chunks):
                chunk.index = index
        read = (self._calls.read(chunk) for chunk in chunks)
        calls = tuple(call for call in read if call is not None)
        logprobs = self._logprobs(choice)
        self.odd_parts = self.odd_parts or odd
        if not (text or reasoning or calls or logprobs):
            return None
        self.tokens += self._size(text, reasoning, calls)
        self._thoughts += self._size("", reasoning, ())
        return Delta(text, reasoning=reasoning, tool_calls=calls, logprobs=logprobs)

    def _size(self, text: str, reasoning: str, calls: Sequence[ToolCallDelta]) -> int:
        """The estimated number of tokens."""
        if not self._whole:
            return int(bool(text or reasoning or calls))
        arguments = sum(len(call.name) + len(call.arguments) for call in calls)
        return ceil((len(text) + len(reasoning) + arguments) / CHARACTERS_A_TOKEN)

    def _logprobs(self, choice: Choice) -> tuple[TokenLogprob, ...]:
        alternatives = self._sampling.logprobs
        if alternatives is None:
            return ()
        try:
            found = msgspec.convert(choice.logprobs, Logprobs | None)
        except msgspec.ValidationError as error:
            raise lost("sent an invalid answer") from error
        return found.all(alternatives) if found is not None else ()


def _known(reported: int | None, estimate: int) -> int:
    return estimate if reported is None else reported


def _finish(reason: str) -> FinishReason:
    """Maps any server's finish reason; several servers have names of their own for "stop"."""
    reason = reason.lower()
    if reason in _CUT:
        return FinishReason.LENGTH
    if reason in _STOPPED:
        return FinishReason.STOP
    if reason in _CALLED:
        return FinishReason.TOOL_CALLS
    if reason in _FILTERED:
        raise InvalidRequest(
            "The content filter of the model's server withheld the answer. Change the text or the "
            "images."
        )
    if reason in _FAILED:
        raise lost("broke the answer off")
    raise lost("ended the answer for an unknown reason")
