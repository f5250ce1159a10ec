"""What a request was and what was done for it: for the request history."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from silkline.core import Delta, FinishReason, Image, Message, Usage
from silkline.ingress.identity import Identity
from silkline.ingress.source import UrlSource
from silkline.routing.attempt import Attempt
from silkline.service.question import Question


class Asked(msgspec.Struct, frozen=True):
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
        answers: The deltas of each answer; the same list as `Details.answers`.
    """

    messages: tuple[Message, ...]
    addresses: tuple[str, ...]
    answers: list[list[Delta]]
    images: tuple[Image, ...] = ()


@dataclass(slots=True)
class Details:
    """What is known about one request beyond its log line; all its answers share one.

    Attributes:
        asked: Its sizes, once its body was understood.
        images: The identities of its images, once known.
        attempts: The calls to replicas, in their order.
        usage: What its answers cost so far; None before the first ends.
        finish: Why its answers ended, once they have.
        first_token: Seconds from its arrival to the first chunk of the answer.
        answer: The id of its answer, by which clients know it; empty if it has none.
        answers: The deltas of each answer; None if nothing needs them after the request.
        content: Its content, if that is retained.
    """

    asked: Asked | None = None
    images: tuple[Identity, ...] = ()
    attempts: list[Attempt] = field(default_factory=list)
    usage: Usage | None = None
    finish: list[FinishReason] = field(default_factory=list)
    first_token: float | None = None
    answer: str = ""
    answers: list[list[Delta]] | None = None
    content: Content | None = None

    def asks(
        self, question: Question, after_seconds: float, *, retained: bool, observed: bool = False
    ) -> None:
        """Notes the question, unless it is noted: before it is taken apart into its answers.

        Args:
            question: The question.
            after_seconds: Seconds since the request's arrival.
            retained: Whether its content is kept too.
            observed: Whether its answers are looked at when the request has ended.
        """
        if self.asked is not None:
            return
        self.asked = Asked(
            len(question.messages),
            question.characters,
            tuple(
                "url" if isinstance(source, UrlSource) else "data" for source in question.sources
            ),
            question.sampling.max_tokens,
            question.stream,
            question.choices,
            after_seconds,
        )
        if retained or observed:
            self.answers = []
        if retained and self.answers is not None:
            addresses = [
                str(source.url.url) if isinstance(source, UrlSource) else ""
                for source in question.sources
            ]
            self.content = Content(question.messages, tuple(addresses), self.answers)

    def keeps_answers(self) -> None:
        """Keeps the deltas of answers that have not begun until the request has ended."""
        if self.answers is None:
            self.answers = []

    def answer_begins(self) -> list[Delta] | None:
        """Returns the list that gets the deltas of an answer; None if none is kept."""
        if self.answers is None:
            return None
        self.answers.append([])
        return self.answers[-1]

    def answer_ended(self, usage: Usage, finish: FinishReason) -> None:
        """Adds what an answer cost, and why it ended."""
        self.finish.append(finish)
        self.usage = usage if self.usage is None else _sum(self.usage, usage)


def _sum(one: Usage, other: Usage) -> Usage:
    return Usage(
        one.prompt_tokens + other.prompt_tokens,
        one.completion_tokens + other.completion_tokens,
        one.image_tokens + other.image_tokens,
        one.cached_tokens + other.cached_tokens,
        one.reasoning_tokens + other.reasoning_tokens,
    )
