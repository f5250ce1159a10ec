"""Several answers to one question, computed at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

from silkline.core import Answer, Delta
from silkline.service.answering import Answering, completed
from silkline.service.group import Group
from silkline.service.question import Question
from silkline.service.record import RequestRecord

_NOTED = (
    "model",
    "served",
    "cache",
    "pixel_budget",
    "pixel_budgets",
    "timeline",
    "max_tokens",
    "ignored",
)
"""The attributes of a record that an answer finds out."""


async def answers(answering: Answering, question: Question, record: RequestRecord) -> list[Answer]:
    """Returns all answers to a question, in the order of their indices.

    Raises:
        SilklineError: As `Answering.answer`; the other answers are cancelled.
    """
    if question.choices == 1:
        return [await answering.answer(question, record)]
    seen: list[list[Delta]] = [[] for _ in range(question.choices)]
    async with aclosing(deltas(answering, question, record)) as stream:
        async for index, delta in stream:
            seen[index].append(delta)
    return [completed(parts) for parts in seen]


async def deltas(
    answering: Answering, question: Question, record: RequestRecord
) -> AsyncGenerator[tuple[int, Delta], None]:
    """Streams all answers; yields each delta with the index of its answer.

    Raises:
        SilklineError: As `Answering.deltas`; the other answers are cancelled.
    """
    if question.choices == 1:
        async with aclosing(answering.deltas(question, record)) as stream:
            async for delta in stream:
                yield 0, delta
        return
    record.details.asks(question, record.elapsed(), retained=answering.retains(record))
    runs = _runs(question, record)
    group = Group(question.choices)
    merged = _merged([answering.deltas(*run, group) for run in runs])
    async with aclosing(merged) as items:
        async for index, delta in items:
            _note(record, runs[index][1])
            yield index, delta


async def _merged(
    streams: Sequence[AsyncGenerator[Delta, None]],
) -> AsyncGenerator[tuple[int, Delta], None]:
    """Yields the deltas of all streams as they come, each with the index of its stream."""
    queue: asyncio.Queue[tuple[int, Delta | Exception | None]] = asyncio.Queue(maxsize=len(streams))

    async def read(index: int) -> None:
        try:
            async with aclosing(streams[index]) as stream:
                async for delta in stream:
                    await queue.put((index, delta))
            await queue.put((index, None))
        except Exception as error:  # noqa: BLE001 - raised by the reader of the queue
            await queue.put((index, error))

    tasks = [asyncio.create_task(read(index)) for index in range(len(streams))]
    try:
        unfinished = len(streams)
        while unfinished:
            index, item = await queue.get()
            if isinstance(item, Exception):
                raise item
            if item is None:
                unfinished -= 1
            else:
                yield index, item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _runs(question: Question, record: RequestRecord) -> list[tuple[Question, RequestRecord]]:
    """One question and one record for each answer; a seed is increased by the answer's index."""
    seed = question.sampling.seed
    return [
        (
            replace(
                question,
                choices=1,
                sampling=replace(question.sampling, seed=None if seed is None else seed + index),
            ),
            replace(
                record,
                idempotency_key=record.idempotency_key and f"{record.idempotency_key}.{index}",
            ),
        )
        for index in range(question.choices)
    ]


def _note(record: RequestRecord, run: RequestRecord) -> None:
    """Copies what one of the answers found out to the request's record."""
    for name in _NOTED:
        setattr(record, name, getattr(run, name))
