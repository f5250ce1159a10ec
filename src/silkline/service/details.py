"""What a request was and what was done for it: for the request history."""

from __future__ import annotations

from dataclasses import dataclass, field

from silkline.core import Delta, FinishReason, Image, Message, Usage
from silkline.ingress.identity import Identity
from silkline.ingress.source import UrlSource
from silkline.routing.attempt import Attempt
from silkline.service.question import Question


@dataclass(frozen=True, slots=True)
class Asked:
    """The sizes of a question.

    Attributes:
        messages: Its messages.
        characters: Characters of text in all of them.
        images: How each image was sent: `url` or `data`.
        max_tokens: Maximum tokens of the answer, as requested.
        stream: Whether the client reads the answer as a stream.
        choices: Number of answers.
        after_seconds: Seconds from the request's arrival until its body was understood.
    """

    messages: int
    characters: int
    images: tuple[str, ...]
    max_tokens: int
    stream: bool
    choices: int
    after_seconds: float


@dataclass(slots=True)
class Content:
    """What a client sent and got, kept only for tenants whose content is retained.

    Attributes:
        messages: The conversation.
        addresses: The URL of each image that was sent as one; empty for other images.
        images: The images as the model saw them; empty if nothing was computed.
        answers: The deltas of each answer.
    """

    messages: tuple[Message, ...]
    addresses: tuple[str, ...]
    images: tuple[Image, ...] = ()
    answers: list[list[Delta]] = field(default_factory=list)


@dataclass(slots=True)
class Details:
    """What is known about one request beyond its log line; all its answers share one.

    Attributes:
        asked: Its sizes, once its body was understood.
        images: The identities of its images, once known.
        attempts: The calls to replicas, in their order.
        usage: What its answers cost so far.
        finish: Why its answers ended, once they have.
        first_token: Seconds from its arrival to the first chunk of the answer.
        content: Its content, if that is retained.
    """

    asked: Asked | None = None
    images: tuple[Identity, ...] = ()
    attempts: list[Attempt] = field(default_factory=list)
    usage: Usage = field(default_factory=lambda: Usage(0, 0))
    finish: list[FinishReason] = field(default_factory=list)
    first_token: float | None = None
    content: Content | None = None

    def asks(self, question: Question, after_seconds: float, *, retained: bool) -> None:
        """Notes the question, unless it is noted: before it is taken apart into its answers.

        Args:
            question: The question.
            after_seconds: Seconds since the request's arrival.
            retained: Whether its content is kept too.
        """
        if self.asked is not None:
            return
        addresses = tuple(
            str(source.url.url) if isinstance(source, UrlSource) else ""
            for source in question.sources
        )
        self.asked = Asked(
            len(question.messages),
            question.characters,
            tuple("url" if address else "data" for address in addresses),
            question.sampling.max_tokens,
            question.stream,
            question.choices,
            after_seconds,
        )
        if retained:
            self.content = Content(question.messages, addresses)

    def answer_begins(self) -> list[Delta] | None:
        """Returns the list that gets the deltas of an answer; None if content is not retained."""
        if self.content is None:
            return None
        self.content.answers.append([])
        return self.content.answers[-1]

    def answer_ended(self, usage: Usage, finish: FinishReason) -> None:
        """Adds what an answer cost, and why it ended."""
        self.finish.append(finish)
        self._add(usage)

    def _add(self, usage: Usage) -> None:
        seen = self.usage
        self.usage = Usage(
            seen.prompt_tokens + usage.prompt_tokens,
            seen.completion_tokens + usage.completion_tokens,
            seen.image_tokens + usage.image_tokens,
            seen.cached_tokens + usage.cached_tokens,
            seen.reasoning_tokens + usage.reasoning_tokens,
        )
