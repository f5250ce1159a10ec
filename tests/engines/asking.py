"""Requests and synthetic pictures for engines."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace

from silkline.core import (
    Answer,
    Delta,
    Image,
    ImagePart,
    Message,
    Part,
    Request,
    Role,
    Sampling,
    TextPart,
    complete,
)
from silkline.engines.base import Engine

BRIEF = Sampling(max_tokens=24)


def picture(seed: int = 0, width: int = 96, height: int = 72) -> Image:
    """A block of one colour on another, both by the seed."""
    dice = random.Random(seed)
    ground, block = (bytes(dice.randrange(256) for _ in range(3)) for _ in range(2))
    row_of_ground = ground * width
    edge = ground * (width // 4)
    row_of_block = edge + block * (width - 2 * (width // 4)) + edge
    rows = [row_of_block if height // 4 <= y < 3 * height // 4 else row_of_ground
            for y in range(height)]  # fmt: skip
    pixels = b"".join(rows)
    return Image(
        width, height, pixels, hashlib.sha256(b"%d %d " % (width, height) + pixels).hexdigest()
    )


def user(*parts: str | int) -> Message:
    """A user's message: text, or the index of a picture."""
    return Message(Role.USER, tuple(_part(part) for part in parts))


def request(
    *messages: Message,
    images: tuple[Image, ...] = (),
    sampling: Sampling = BRIEF,
    timeout_seconds: float = 30.0,
    stream: bool = True,
) -> Request:
    return Request("test", messages, images, sampling, timeout_seconds, stream)


def question(text: str = "What is this?", seed: int | None = 0, **fields: object) -> Request:
    """One message, with a picture unless `seed` is None."""
    if seed is None:
        return request(user(text), **fields)  # type: ignore[arg-type]
    return request(user(0, text), images=(picture(seed),), **fields)  # type: ignore[arg-type]


def same(one: Answer, other: Answer) -> bool:
    """Whether two answers agree in all but their time and what the engine reused for them."""
    usage = replace(one.usage, cached_tokens=other.usage.cached_tokens)
    return replace(one, timeline=other.timeline, usage=usage) == other


async def deltas(engine: Engine, asked: Request) -> list[Delta]:
    async with aclosing(engine.generate(asked)) as stream:
        return [delta async for delta in stream]


async def answer(engine: Engine, asked: Request) -> Answer:
    """The whole answer; checks the form that every stream must have."""
    pieces = await deltas(engine, asked)
    for piece in pieces[:-1]:
        assert (piece.finish_reason, piece.usage, piece.timeline) == (None, None, None)
    whole = complete(pieces)
    assert whole is not None
    return whole


async def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Waits until it is so."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it did not come to be"
        await asyncio.sleep(0.01)


def _part(part: str | int) -> Part:
    return TextPart(part) if isinstance(part, str) else ImagePart(part)
