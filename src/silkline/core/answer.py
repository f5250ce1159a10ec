"""Answers: a stream of deltas, or the whole."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from silkline.core.message import ToolCall


class FinishReason(StrEnum):
    """Why an answer ended, as in the OpenAI API."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"


@dataclass(frozen=True, slots=True)
class Usage:
    """What an answer cost, in tokens.

    Attributes:
        prompt_tokens: All tokens of the prompt, including image tokens.
        completion_tokens: Generated tokens, including the end token if there is one.
        image_tokens: How many of `prompt_tokens` are image tokens.
        cached_tokens: How many of `prompt_tokens` the engine took from its cache, at least.
        reasoning_tokens: How many of `completion_tokens` are reasoning.
    """

    prompt_tokens: int
    completion_tokens: int
    image_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Prompt and completion tokens together."""
        return self.prompt_tokens + self.completion_tokens


class Stage(StrEnum):
    """The stages of a request, in their order."""

    FETCH = "fetch"
    DECODE = "decode"
    RESIZE = "resize"
    CACHE = "cache"
    QUEUE = "queue"
    PREFILL = "prefill"
    GENERATE = "generate"


@dataclass(frozen=True, slots=True)
class Timeline:
    """Seconds spent in each stage; skipped stages are absent."""

    seconds: dict[Stage, float] = field(default_factory=dict)

    def plus(self, other: Timeline) -> Timeline:
        """Returns the sum of both timelines, stage by stage."""
        merged = dict(self.seconds)
        for stage, seconds in other.seconds.items():
            merged[stage] = merged.get(stage, 0.0) + seconds
        return Timeline(merged)


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """The log-probability of a generated token.

    Attributes:
        token: The token as text; incomplete bytes become U+FFFD.
        data: The token's bytes.
        logprob: Its natural log-probability before any penalty and temperature, at most 0.
        top: The most likely tokens at its index, most likely first, each without its own `top`.
    """

    token: str
    data: bytes
    logprob: float
    top: tuple[TokenLogprob, ...] = ()


def confidence(tokens: Iterable[TokenLogprob]) -> float:
    """The probability of the least likely token, 0 to 1; 1 if there is no token.

    It never rises when tokens are added, so an answer that is no longer likely enough can be
    stopped.
    """
    return math.exp(min((token.logprob for token in tokens), default=0.0))


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A chunk of a tool call.

    Attributes:
        index: The call's index in the answer, from 0.
        id: The call's id; only in its first chunk.
        name: The tool's name; only in its first chunk.
        arguments: The next characters of the arguments.
    """

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class Delta:
    """A chunk of an answer.

    Only the last delta of a stream has a `finish_reason`, the usage and the engine's timeline; its
    text may be empty.

    Attributes:
        text: The next characters of the answer's text.
        finish_reason: Why the answer ended.
        usage: What it cost.
        timeline: Where the engine spent its time.
        reasoning: The next characters of the reasoning before the answer.
        tool_calls: The next chunks of tool calls.
        logprobs: The tokens of this chunk, if they were asked for; all of reasoning, text and tool
            calls.
        stop: The stop string that ended the answer, in the last delta; empty if none did, or if
            the engine cannot tell.
        prompt_ids: The tokens of the prompt, in the last delta of an answer with 0 `max_tokens`.
    """

    text: str
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    timeline: Timeline | None = None
    reasoning: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    stop: str = ""
    prompt_ids: tuple[int, ...] = ()

    def timed(self, timeline: Timeline) -> Delta:
        """The same delta with another timeline; faster than `replace`."""
        return Delta(
            self.text,
            self.finish_reason,
            self.usage,
            timeline,
            self.reasoning,
            self.tool_calls,
            self.logprobs,
            self.stop,
            self.prompt_ids,
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer; the fields are those of a `Delta`."""

    text: str
    finish_reason: FinishReason
    usage: Usage
    timeline: Timeline
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    stop: str = ""
    prompt_ids: tuple[int, ...] = ()

    def as_delta(self) -> Delta:
        """Returns the answer as a single final delta."""
        calls = tuple(
            ToolCallDelta(index, call.id, call.name, call.arguments)
            for index, call in enumerate(self.tool_calls)
        )
        return Delta(
            self.text,
            self.finish_reason,
            self.usage,
            self.timeline,
            self.reasoning,
            calls,
            self.logprobs,
            self.stop,
            self.prompt_ids,
        )


def join(deltas: Sequence[Delta]) -> Delta:
    """Joins consecutive deltas, at least one, into one delta; each tool call becomes one chunk."""
    if len(deltas) == 1:
        return deltas[0]
    return replace(
        deltas[-1],
        text="".join(delta.text for delta in deltas),
        reasoning="".join(delta.reasoning for delta in deltas),
        tool_calls=_joined_calls([call for delta in deltas for call in delta.tool_calls]),
        logprobs=tuple(logprob for delta in deltas for logprob in delta.logprobs),
    )


def complete(deltas: Sequence[Delta]) -> Answer | None:
    """Returns the complete answer; None if the last delta has no finish reason or usage."""
    last = deltas[-1] if deltas else Delta("")
    if last.finish_reason is None or last.usage is None or last.timeline is None:
        return None
    joined = join(deltas)
    calls = tuple(ToolCall(call.id, call.name, call.arguments) for call in joined.tool_calls)
    return Answer(
        joined.text,
        last.finish_reason,
        last.usage,
        last.timeline,
        joined.reasoning,
        calls,
        joined.logprobs,
        last.stop,
        last.prompt_ids,
    )


def _joined_calls(chunks: Sequence[ToolCallDelta]) -> tuple[ToolCallDelta, ...]:
    calls: dict[int, list[ToolCallDelta]] = {}
    for chunk in chunks:
        calls.setdefault(chunk.index, []).append(chunk)
    return tuple(
        ToolCallDelta(
            index,
            "".join(chunk.id for chunk in parts),
            "".join(chunk.name for chunk in parts),
            "".join(chunk.arguments for chunk in parts),
        )
        for index, parts in sorted(calls.items())
    )
