"""Asks a subject about each item of a set that has no answer yet."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from silkline.core import Answer
from silkline.errors import SilklineError, http_face
from silkline.evaluate.item import Item
from silkline.evaluate.journal import Journal, Reply
from silkline.evaluate.subject import Subject


@dataclass(frozen=True, slots=True)
class Asked:
    """An answer, and the pixels of the picture as it lies in the set."""

    answer: Answer
    pixels: int


class Asker(Protocol):
    """Puts questions to a subject."""

    async def ask(self, item: Item) -> Asked:
        """Asks about an item. Raises `SilklineError` where it gets no answer."""
        ...


@dataclass(frozen=True, slots=True)
class Step:
    """How far a run is: questions in all, with a reply, found in the journal, and failed."""

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
    watch: Callable[[Step], None],
) -> list[Reply]:
    """Asks what the journal has no answer to, so many at a time; failures are asked again.

    Args:
        items: What to ask; those with the same key are asked once.
        subject: Who is asked.
        asker: How to ask it.
        journal: Where answers are found and kept.
        at_once: Questions that are open at a time.
        watch: Is told of each reply.

    Returns:
        A reply for each item, in their order; a failure is a reply too.

    Raises:
        EnvironmentFault: The journal cannot be written.
    """
    mark = subject.fingerprint
    journal.begin(subject)
    questions = {item.key: item for item in items}
    missing = [item for item in questions.values() if not _answered(journal, mark, item)]
    known, failed = len(questions) - len(missing), 0
    watch(Step(len(questions), known, known, 0))
    rest: Iterator[Item] = iter(missing)
    done = known

    async def work() -> None:
        nonlocal done, failed
        for item in rest:  # shared: each takes the next
            reply = await _reply(item, mark, asker)
            journal.add(reply)
            done += 1
            failed += bool(reply.error)
            watch(Step(len(questions), done, known, failed))

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(at_once, len(missing))):
                group.create_task(work())
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    return [journal.replies[mark, item.key] for item in items]


def _answered(journal: Journal, mark: str, item: Item) -> bool:
    reply = journal.replies.get((mark, item.key))
    return reply is not None and not reply.error


async def _reply(item: Item, mark: str, asker: Asker) -> Reply:
    began = time.monotonic()
    try:
        asked = await asker.ask(item)
    except SilklineError as error:
        return Reply(
            subject=mark,
            item=item.key,
            id=item.id,
            error=http_face(error).code,
            message=error.message,
            seconds=time.monotonic() - began,
        )
    answer = asked.answer
    return Reply(
        subject=mark,
        item=item.key,
        id=item.id,
        answer=answer.text,
        finish_reason=answer.finish_reason.value,
        seconds=time.monotonic() - began,
        stages={stage.value: value for stage, value in answer.timeline.seconds.items()},
        prompt_tokens=answer.usage.prompt_tokens,
        completion_tokens=answer.usage.completion_tokens,
        image_tokens=answer.usage.image_tokens,
        pixels=asked.pixels,
    )
