"""The chunks of a streamed chat completion, and whole completions, as far as they are read.

https://platform.openai.com/docs/api-reference/chat-streaming; the reasoning is `reasoning_content`
in llama.cpp, SGLang and DeepSeek, and `reasoning` in vLLM and OpenRouter.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, NamedTuple

import msgspec

from silkline.core import TokenLogprob
from silkline.engines.remote.listing import MAX_COUNT

MAX_CALLS = 1024
"""Maximum tool calls of an answer."""

_TEXT = frozenset({"text", "output_text"})
_THOUGHT = frozenset({"thinking", "reasoning"})
_WITHOUT_TEXT = frozenset({"reference"})

_Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]
_Index = Annotated[int, msgspec.Meta(ge=0, lt=MAX_CALLS)]
_Byte = Annotated[int, msgspec.Meta(ge=0, le=255)]

Content = str | list[Any] | None
"""The content of a message or a delta: a text, or a list of parts."""


class Text(NamedTuple):
    """The text of a message's content.

    Attributes:
        text: The text parts, joined.
        odd: Whether there was a part of an unknown type.
        reasoning: The text of the parts with reasoning, joined.
    """

    text: str
    odd: bool = False
    reasoning: str = ""

    @classmethod
    def of(cls, content: Content) -> Text:
        """Reads a content of any form."""
        if not isinstance(content, list):
            return cls(content or "")
        texts: list[str] = []
        thoughts: list[str] = []
        odd = False
        for part in content:
            kind = str(part.get("type", "text")) if isinstance(part, dict) else "text"
            text = part.get("text") if isinstance(part, dict) else part
            if kind in _THOUGHT:
                thoughts.append(_thought(part))
            elif kind in _TEXT and isinstance(text, str):
                texts.append(text)
            else:
                odd = odd or kind not in _WITHOUT_TEXT
        return cls("".join(texts), odd, "".join(thoughts))


def _thought(part: dict[str, Any]) -> str:
    """The text of a part with reasoning: a text, or a list of text parts."""
    for name in ("thinking", "reasoning", "text"):
        inner = part.get(name)
        if isinstance(inner, str):
            return inner
        if isinstance(inner, list):
            return "".join(
                item["text"]
                for item in inner
                if isinstance(item, dict) and isinstance(item.get("text"), str)
            )
    return ""


class CalledFunction(msgspec.Struct):
    """The function of a tool call; some servers send the arguments as an object."""

    name: str | None = None
    arguments: str | dict[str, Any] | None = None

    @property
    def text(self) -> str:
        """The arguments as JSON text."""
        if isinstance(self.arguments, dict):
            return msgspec.json.encode(self.arguments).decode()
        return self.arguments or ""


class CallChunk(msgspec.Struct):
    """A chunk of a tool call."""

    index: _Index | None = None
    id: str | None = None
    function: CalledFunction | None = None


class Token(msgspec.Struct):
    """A token with its log-probability."""

    token: str
    logprob: float
    bytes: list[_Byte] | None = None
    top_logprobs: list[Token] | None = None

    def logprobs(self, alternatives: int) -> TokenLogprob:
        """Converts the token, with at most so many alternatives."""
        others = [] if self.top_logprobs is None else self.top_logprobs[:alternatives]
        return TokenLogprob(
            self.token,
            self.token.encode() if self.bytes is None else bytes(self.bytes),
            min(self.logprob, 0.0),
            tuple(other.logprobs(0) for other in others),
        )


class _Legacy(NamedTuple):
    """A token of a raw prompt's answer, with the log-probabilities of the most likely ones."""

    token: str
    logprob: float
    top: dict[str, float]

    def logprobs(self, alternatives: int) -> TokenLogprob:
        ranked = sorted(self.top.items(), key=lambda item: -item[1])[:alternatives]
        others = tuple(Token(token, logprob).logprobs(0) for token, logprob in ranked)
        return replace(Token(self.token, self.logprob).logprobs(0), top=others)


class Logprobs(msgspec.Struct):
    """The log-probabilities of a chunk's tokens: `content` in chats, the others in raw prompts."""

    content: list[Token] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None

    def all(self, alternatives: int) -> tuple[TokenLogprob, ...]:
        """Converts all tokens, each with at most so many alternatives.

        The first token of a prompt has no log-probability; it is left out.
        """
        if self.content is not None:
            return tuple(token.logprobs(alternatives) for token in self.content)
        tokens, logprobs = self.tokens or [], self.token_logprobs or []
        tops = self.top_logprobs or [None] * len(tokens)
        return tuple(
            _Legacy(token, logprob, top or {}).logprobs(alternatives)
            for token, logprob, top in zip(tokens, logprobs, tops, strict=False)
            if logprob is not None
        )


class ChunkDelta(msgspec.Struct):
    """What a chunk adds to the message, or the whole message.

    `reasoning` of another type than text is ignored.
    """

    content: Content = None
    reasoning_content: Any = None
    reasoning: Any = None
    tool_calls: list[CallChunk] | None = None

    def text(self) -> Text:
        """The next characters of the text and of the reasoning."""
        text = Text.of(self.content)
        fields = (self.reasoning_content, self.reasoning)
        thoughts = (each for each in fields if isinstance(each, str) and each)
        return text._replace(reasoning=next(thoughts, text.reasoning))


class Choice(msgspec.Struct):
    """A choice of a chunk; its `logprobs` are `Logprobs` if they were requested.

    A whole answer has `message` in place of `delta`; the answer to a raw prompt has `text`.

    `stop_reason` (vLLM, Silkline) or `matched_stop` (SGLang) is the stop string that ended the
    answer, or the id of a token.
    """

    delta: ChunkDelta | None = None
    message: ChunkDelta | None = None
    text: str | None = None
    finish_reason: str | None = None
    index: int | None = None
    logprobs: Any = None
    stop_reason: Any = None
    matched_stop: Any = None


class Details(msgspec.Struct):
    """Parts of the tokens of a prompt or an answer."""

    cached_tokens: _Count | None = None
    image_tokens: _Count | None = None
    reasoning_tokens: _Count | None = None


class ReportedUsage(msgspec.Struct):
    """The usage that a server reports."""

    prompt_tokens: _Count | None = None
    completion_tokens: _Count | None = None
    prompt_tokens_details: Details | None = None
    completion_tokens_details: Details | None = None


class Chunk(msgspec.Struct):
    """A chunk of a completion, or a whole completion."""

    choices: list[Choice] | None = None
    usage: ReportedUsage | None = None
    error: Any = None
