"""The closed loop: so many askers, each of which asks again as soon as it is answered.

`load` runs it against a server and `engine_alone` against an engine, each in its own process that
takes `Cell`s on its standard input and gives a `Measured` for each on its standard output, one line
of JSON each.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import msgspec

Q = TypeVar("Q")
A = TypeVar("A")

READY = "ready"
"""The first line on standard output: from here on cells are taken."""


class Cell(msgspec.Struct, frozen=True):
    """What is asked, how hard and for how long.

    Attributes:
        prompt: The question, the same for every picture.
        max_tokens: Most tokens of an answer.
        concurrency: Askers at the same time.
        warmup_seconds: Time before the window, in which requests are not counted.
        seconds: Length of the window; it ends early when the pictures are used up.
        first_picture: Number of the first picture, see `pictures.Pictures`.
        pictures: Most pictures, and with that most requests, the warm-up's included.
    """

    prompt: str
    max_tokens: int
    concurrency: int
    warmup_seconds: float
    seconds: float
    first_picture: int
    pictures: int


class Reply(msgspec.Struct, frozen=True):
    """What came back.

    Attributes:
        status: Of HTTP; 200 where there is none and all went well.
        text: The answer.
        tokens: Tokens of the answer.
        cached: Whether it was not computed for this request.
    """

    status: int
    text: str = ""
    tokens: int = 0
    cached: bool = False


class Asked(msgspec.Struct, frozen=True):
    """One request.

    Attributes:
        picture: Number of its picture.
        began: Seconds after the beginning of the window; below 0 in the warm-up.
        ended: The same, when its answer was whole.
        reply: What came back.
    """

    picture: int
    began: float
    ended: float
    reply: Reply


class Measured(msgspec.Struct, frozen=True):
    """A cell's outcome.

    Attributes:
        window: Seconds that the window was open.
        asked: All requests, those of the warm-up and of the end included.
        cpu_seconds: Processor time of the process that ran the loop.
        wall_seconds: Time from the first request to the last answer.
    """

    window: float
    asked: list[Asked]
    cpu_seconds: float
    wall_seconds: float


async def closed_loop(
    cell: Cell,
    questions: Sequence[Q],
    ask: Callable[[Q], Awaitable[A]],
    read: Callable[[A], Reply],
) -> Measured:
    """Runs one cell.

    Args:
        cell: What to run.
        questions: One for each picture of the cell, ready to be sent.
        ask: Sends one and waits for the answer.
        read: Takes an answer apart; called when all is over, so that it costs nothing before.

    Raises:
        ValueError: The pictures were used up before the window opened.
    """
    answers: list[tuple[int, float, float, A]] = []
    numbers = iter(range(len(questions)))
    cpu_before, wall_before = time.process_time(), time.perf_counter()
    opens = wall_before + cell.warmup_seconds
    closes = opens + cell.seconds

    async def asker() -> None:
        nonlocal closes
        for number in numbers:
            began = time.perf_counter()
            if began >= closes:
                return
            answer = await ask(questions[number])
            answers.append((number, began, time.perf_counter(), answer))
        closes = min(closes, time.perf_counter())  # no pictures are left: fewer ask from here on

    await asyncio.gather(*(asker() for _ in range(cell.concurrency)))
    if closes <= opens:
        raise ValueError(f"{cell.pictures} pictures were used up in the warm-up; allow for more.")
    cpu, wall = time.process_time() - cpu_before, time.perf_counter() - wall_before
    asked = [
        Asked(cell.first_picture + number, began - opens, ended - opens, read(answer))
        for number, began, ended, answer in answers
    ]
    return Measured(closes - opens, asked, cpu, wall)


async def serve_cells(run: Callable[[Cell], Awaitable[Measured]]) -> None:
    """Runs the cells that come on standard input, until it ends."""
    print(READY, flush=True)
    while line := await asyncio.to_thread(sys.stdin.buffer.readline):
        measured = await run(msgspec.json.decode(line, type=Cell))
        print(msgspec.json.encode(measured).decode(), flush=True)
