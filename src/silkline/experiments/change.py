"""Changes a question as the candidate of an experiment answers it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from silkline.config.experiments import Changes
from silkline.core import Message, Role, TextPart
from silkline.ingress.source import Source
from silkline.service.question import Question


def changed(question: Question, changes: Changes) -> Question:
    """Returns the question with the changes; the answer cache keys it by what it has become.

    Sampling that the request names stays as it is.
    """
    if changes == Changes():
        return question
    sampling: dict[str, Any] = {
        name: value
        for name in ("temperature", "top_p")
        if (value := getattr(changes, name)) is not None and name in question.unset
    }
    if changes.max_tokens is not None:
        sampling["max_tokens"] = min(changes.max_tokens, question.sampling.max_tokens)
    return replace(
        question,
        messages=_prompted(question.messages, changes),
        sources=tuple(_reduced(source, changes.max_pixels) for source in question.sources),
        sampling=replace(question.sampling, **sampling),
        unset=question.unset - sampling.keys(),
    )


def _reduced(source: Source, max_pixels: int | None) -> Source:
    pixels = source.pixels
    if max_pixels is None or (pixels.max_pixels or max_pixels + 1) <= max_pixels:
        return source
    return replace(source, pixels=replace(pixels, max_pixels=max_pixels))


def _prompted(messages: Sequence[Message], changes: Changes) -> tuple[Message, ...]:
    told = list(messages)
    if changes.system:
        told = [message for message in told if message.role is not Role.SYSTEM]
        told.insert(0, Message(Role.SYSTEM, (TextPart(changes.system),)))
    asked = [index for index, message in enumerate(told) if message.role is Role.USER]
    if changes.prefix and asked:
        last = told[asked[-1]]
        told[asked[-1]] = replace(last, parts=(TextPart(changes.prefix), *last.parts))
    return tuple(told)
