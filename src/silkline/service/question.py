"""What a client asks, free of the form in which it asked: the meeting point of the routes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from silkline.admission.cost import Size
from silkline.cache.policy import CacheUse
from silkline.config import LimitSettings
from silkline.core import Message, Sampling, TextPart
from silkline.errors import InvalidRequest, RequestTooLarge
from silkline.ingress.identity import Identity
from silkline.ingress.source import Source


@dataclass(frozen=True, slots=True)
class Question:
    """A request before its pictures have come.

    Attributes:
        model: The model's name as the client gave it; None stands for whatever is served.
        messages: The conversation; image parts count into `sources`.
        sources: Where each picture comes from.
        sampling: How to answer.
        stream: Whether the client reads the answer as it grows.
        cache_use: What the client wants of the cache.
    """

    model: str | None
    messages: tuple[Message, ...]
    sources: tuple[Source, ...]
    sampling: Sampling
    stream: bool
    cache_use: CacheUse = CacheUse.NORMAL

    @property
    def characters(self) -> int:
        """How much text it has."""
        return sum(
            len(part.text)
            for message in self.messages
            for part in message.parts
            if isinstance(part, TextPart)
        )


def size_of(question: Question, known: Sequence[Identity] | None) -> Size:
    """What a question is priced by; the pictures' sizes where they are known."""
    images = (
        tuple(identity.original_pixels for identity in known)
        if known is not None
        else (None,) * len(question.sources)
    )
    return Size(question.characters, images, question.sampling.max_tokens)


def check_size(question: Question, limits: LimitSettings) -> None:
    """Holds a question to the limits that need no work to check.

    Raises:
        RequestTooLarge: Too many messages, pictures or characters.
    """
    if len(question.messages) > limits.max_messages:
        raise RequestTooLarge(
            f"The request has {len(question.messages)} messages; at most "
            f"{limits.max_messages} are taken.",
            param="messages",
        )
    if len(question.sources) > limits.max_images:
        raise RequestTooLarge(
            f"The request has {len(question.sources)} pictures; at most {limits.max_images} "
            "are taken.",
            param="messages",
        )
    if (characters := question.characters) > limits.max_text_chars:
        raise RequestTooLarge(
            f"The request has {characters} characters of text; at most "
            f"{limits.max_text_chars} are taken.",
            param="messages",
        )


def clamped(question: Question, max_tokens: int) -> Question:
    """The question with at most `most_tokens` tokens of answer; the same one where it fits."""
    if question.sampling.max_tokens <= max_tokens:
        return question
    return replace(question, sampling=replace(question.sampling, max_tokens=max_tokens))


def check_strictly(question: Question, ignored: Sequence[str], max_tokens: int) -> None:
    """Refuses what is otherwise left out of a question and said in its answer.

    Args:
        question: As the client asked it.
        ignored: The paths of its unknown fields.
        max_tokens: Tokens that its answer may have.

    Raises:
        InvalidRequest: A field is unknown, or more tokens are asked for.
    """
    if ignored:
        raise InvalidRequest(
            f"The field {ignored[0]} is not supported. Leave it out.", param=ignored[0]
        )
    if (asked := question.sampling.max_tokens) > max_tokens:
        raise InvalidRequest(
            f"max_tokens is {asked}; at most {max_tokens} may be asked for.", param="max_tokens"
        )
