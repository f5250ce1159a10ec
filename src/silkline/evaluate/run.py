"""Runs a subject on each item of a data set that has no answer yet."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from silkline.core import Answer
from silkline.core.answer import confidence
from silkline.errors import SilklineError, http_face
from silkline.evaluate.confidence import answer_probability
from silkline.evaluate.item import Item
from silkline.evaluate.journal import Journal, Reply
from silkline.evaluate.subject import Subject


@dataclass(frozen=True, slots=True)
class Asked:
    """An answer, and the number of pixels of the original image."""

    answer: Answer
    pixels: int


class Asker(Protocol):
    """Sends items to a subject."""

    async def ask(self, item: Item) -> Asked:
        """Returns the answer for an item. Raises `SilklineError` if there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Step:
    """Progress of a run: questions in total, done, already in the journal, and failed."""

    total: int
    done: int
    known: int
    failed: int


async def run_items(
    items: Sequence[Item],
    subject: Subject,
    asker: Asker,
    journal: Journal,
    at_once: int,
    on_progress: Callable[[Step], None],
) -> list[Reply]:
    """Asks every question that the journal has no answer to, and retries those that failed.

    Args:
        items: The items; those with the same key are asked once.
        subject: The subject.
        asker: Sends items to the subject.
        journal: Stores the replies.
        at_once: Maximum number of questions in flight.
        on_progress: Called before the first question and after each reply.

    Returns:
        A reply for each item, in order; a failure is a reply too.

    Raises:
        EnvironmentFault: The journal cannot be written.
    """
    fingerprint = subject.fingerprint
    journal.begin(subject)
    questions = {item.key: item for item in items}
    missing = [item for item in questions.values() if not _answered(journal, fingerprint, item)]
    known, failed = len(questions) - len(missing), 0
    on_progress(Step(len(questions), known, known, 0))
    rest: Iterator[Item] = iter(missing)
    done = known

    async def work() -> None:
        nonlocal done, failed
        for item in rest:  # an iterator shared by all workers
            reply = await _reply(item, fingerprint, asker)
            journal.add(reply)
            done += 1
            failed += bool(reply.error)
            on_progress(Step(len(questions), done, known, failed))

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(at_once, len(missing))):
                group.create_task(work())
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    return [journal.replies[fingerprint, item.key] for item in items]


def _answered(journal: Journal, fingerprint: str, item: Item) -> bool:
    reply = journal.replies.get((fingerprint, item.key))
    return reply is not None and not reply.error


async def _reply(item: Item, fingerprint: str, asker: Asker) -> Reply:
    began = time.monotonic()
    try:
        asked = await asker.ask(item)
    except SilklineError as error:
        return Reply(
            subject=fingerprint,
            item=item.key,
            id=item.id,
            error=http_face(error).code,
            message=error.message,
            seconds=time.monotonic() - began,
        )
    answer = asked.answer
    return Reply(
        subject=fingerprint,
        item=item.key,
        id=item.id,
        answer=answer.text,
        finish_reason=answer.finish_reason.value,
        seconds=time.monotonic() - began,
        stages={stage.value: value for stage, value in answer.timeline.seconds.items()},
        prompt_tokens=answer.usage.prompt_tokens,
        completion_tokens=answer.usage.completion_tokens,
        image_tokens=answer.usage.image_tokens,
        probability=answer_probability(answer.logprobs),
        pixels=asked.pixels,
        confidence=confidence(answer.logprobs) if answer.logprobs else None,
    )
