"""The result of an item as the journal has it, and as a row of the output."""

from __future__ import annotations

from typing import Any

import msgspec

from silkline.batch.item import Result
from silkline.batch.journal import Settled
from silkline.core import Answer
from silkline.errors import CapacityError, SilklineError, http_face


class Answered(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An answer or an error.

    Attributes:
        answer: The text; None after an error.
        message: The error's message.
        finish_reason: Why the answer ended.
        prompt_tokens: Tokens of the prompt, with those of the image.
        completion_tokens: Tokens of the answer.
        seconds: Seconds from the question to the answer.
    """

    answer: str | None = None
    message: str = ""
    finish_reason: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0


def answered(answer: Answer, seconds: float) -> Result:
    """The result of an answer."""
    found = Answered(
        answer=answer.text,
        finish_reason=answer.finish_reason,
        prompt_tokens=answer.usage.prompt_tokens,
        completion_tokens=answer.usage.completion_tokens,
        seconds=round(seconds, 6),
    )
    return Result(msgspec.json.encode(found))


def failed(error: SilklineError) -> Result:
    """The result of an error."""
    transient = isinstance(error, CapacityError)
    content = msgspec.json.encode(Answered(message=error.message))
    return Result(content, http_face(error).code, transient)


def row(settled: Settled) -> dict[str, Any]:
    """A row of the output: the same columns for all items.

    `duplicate_of` names the first item with the same question, whose answer this is; tokens and
    seconds count there only.
    """
    result = settled.result or Result(b"{}", "not_asked")
    found = msgspec.json.decode(result.content, type=Answered)
    is_first = settled.first == settled.id
    return {
        "id": settled.id,
        "answer": found.answer,
        "error": result.error or None,
        "message": found.message or None,
        "finish_reason": found.finish_reason or None,
        "duplicate_of": None if is_first else settled.first,
        "prompt_tokens": found.prompt_tokens if is_first else 0,
        "completion_tokens": found.completion_tokens if is_first else 0,
        "seconds": found.seconds if is_first else 0.0,
    }
