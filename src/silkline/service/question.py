"""A client's question, independent of the API route that it came by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from silkline.admission.cost import Size
from silkline.cache.policy import CacheUse
from silkline.config import LimitSettings
from silkline.core import Message, PromptOptions, Sampling, TextPart
from silkline.errors import InvalidRequest, RequestTooLarge
from silkline.ingress.identity import Identity
from silkline.ingress.source import Source


@dataclass(frozen=True, slots=True)
class Question:
    """A request whose images are not loaded yet.

    Attributes:
        model: The model's name from the client; None means the default model.
        messages: The conversation; the index of an image part is an index in `sources`.
        sources: Where each image comes from.
        sampling: How to choose tokens, and when to stop.
        stream: Whether the client reads the answer as a stream.
        cache_use: How the client wants the cache to be used.
        options: How the prompt is written.
        choices: Number of answers.
        unset: The sampling parameters that the request does not name, by the names of `Sampling`.
    """

    model: str | None
    messages: tuple[Message, ...]
    sources: tuple[Source, ...]
    sampling: Sampling
    stream: bool
    cache_use: CacheUse = CacheUse.NORMAL
    options: PromptOptions = field(default_factory=PromptOptions)
    choices: int = 1
    unset: frozenset[str] = frozenset()

    @property
    def characters(self) -> int:
        """Number of characters of text in all messages and tools."""
        tools = self.options.tools
        return sum(map(_characters, self.messages)) + sum(
            len(tool.description) + len(tool.parameters) for tool in tools
        )


def _characters(message: Message) -> int:
    text = sum(len(part.text) for part in message.parts if isinstance(part, TextPart))
    return text + len(message.reasoning) + sum(len(call.arguments) for call in message.tool_calls)


def size_of(question: Question, known: Sequence[Identity] | None) -> Size:
    """Returns the size that a question's cost is estimated from; image sizes may be unknown."""
    images = (
        tuple(identity.original_pixels for identity in known)
        if known is not None
        else (None,) * len(question.sources)
    )
    return Size(question.characters, images, question.sampling.max_tokens)


def check_size(question: Question, limits: LimitSettings) -> None:
    """Checks a question against the limits that do not need its images.

    Raises:
        RequestTooLarge: Too many messages, images or characters.
    """
    if len(question.messages) > limits.max_messages:
        raise RequestTooLarge(
            f"The request has {len(question.messages)} messages; at most "
            f"{limits.max_messages} are allowed.",
            param="messages",
        )
    if len(question.sources) > limits.max_images:
        raise RequestTooLarge(
            f"The request has {len(question.sources)} images; at most {limits.max_images} "
            "are allowed.",
            param="messages",
        )
    if (characters := question.characters) > limits.max_text_chars:
        raise RequestTooLarge(
            f"The request has {characters} characters of text; at most "
            f"{limits.max_text_chars} are allowed.",
            param="messages",
        )


def clamped(question: Question, max_tokens: int) -> Question:
    """Limits the question to `max_tokens` tokens of answer; returns it unchanged if it fits."""
    if question.sampling.max_tokens <= max_tokens:
        return question
    return replace(question, sampling=replace(question.sampling, max_tokens=max_tokens))


def check_strictly(question: Question, ignored: Sequence[str], max_tokens: int) -> None:
    """Refuses what is ignored or reduced, and reported in the response, when not strict.

    Args:
        question: The client's question.
        ignored: The paths of its unknown fields.
        max_tokens: Maximum tokens of its answer.

    Raises:
        InvalidRequest: A field is unknown, or the question asks for more tokens.
    """
    if ignored:
        raise InvalidRequest(
            f"The field {ignored[0]} is not supported. Remove it.", param=ignored[0]
        )
    if (requested := question.sampling.max_tokens) > max_tokens:
        raise InvalidRequest(
            f"max_tokens is {requested}; at most {max_tokens} is allowed.", param="max_tokens"
        )
