"""A client's question, independent of the API route that it came by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate

from silkline.admission.cost import Size
from silkline.cache.policy import CacheUse
from silkline.config import LimitSettings
from silkline.core import ImagePart, Message, Part, PromptOptions, Sampling, TextPart
from silkline.errors import InvalidRequest, RequestTooLarge
from silkline.ingress.identity import Recognised
from silkline.ingress.source import Source


@dataclass(frozen=True)
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

    def messages_of(self, images: Sequence[int]) -> tuple[Message, ...]:
        """Returns the messages with a part for each image instead of one for each source.

        Args:
            images: The number of images of each source; a document has one for each page.
        """
        firsts = list(accumulate(images, initial=0))
        if firsts[-1] == len(images):
            return self.messages
        return tuple(
            replace(
                message,
                parts=tuple(new for part in message.parts for new in _expanded(part, firsts)),
            )
            for message in self.messages
        )

    @cached_property
    def characters(self) -> int:
        """Number of characters of text in all messages and tools."""
        tools = self.options.tools
        return sum(map(_characters, self.messages)) + sum(
            len(tool.description) + len(tool.parameters) for tool in tools
        )


def _expanded(part: Part, firsts: Sequence[int]) -> tuple[Part, ...]:
    """The parts for the images of a source: it has those from its first to the next one's."""
    if isinstance(part, TextPart):
        return (part,)
    return tuple(map(ImagePart, range(firsts[part.index], firsts[part.index + 1])))


def _characters(message: Message) -> int:
    text = sum(len(part.text) for part in message.parts if isinstance(part, TextPart))
    return text + len(message.reasoning) + sum(len(call.arguments) for call in message.tool_calls)


def size_of(question: Question, known: Sequence[Recognised] | None) -> Size:
    """Returns the size that a question's cost is estimated from.

    Image sizes may be unknown; an unknown document counts as one image.
    """
    images: list[int | None] = []
    for index, source in enumerate(question.sources):
        found = None if known is None else known[index].images
        pixels = [None] if found is None else [identity.original_pixels for identity in found]
        images += map(source.pixels.expected, pixels)
    return Size(question.characters, tuple(images), question.sampling.max_tokens)


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
