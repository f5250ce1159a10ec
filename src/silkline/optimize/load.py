"""Loads both sides of a gate in turns, with the data set's own questions."""

from __future__ import annotations

import base64
import binascii
import json
import random
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from silkline.bench.record import Run
from silkline.bench.session import Step, run_bench
from silkline.bench.spec import Arrivals, Spec, Traffic
from silkline.errors import ConfigError
from silkline.evaluate.item import ImageKind, Item
from silkline.service.served import served
from silkline.service.subject import SubjectSpec

_MAX_QUESTIONS = 512
"""Questions of the load, drawn from the data set; their images are held in memory."""

_WARM = 8


@dataclass(frozen=True, slots=True)
class Load:
    """The load on each side.

    Attributes:
        seconds: How long each side is loaded.
        clients: Clients that wait for their answers; 0 for an open loop.
        rate: Requests per second of an open loop.
        slice_seconds: Length of a side's turn.
    """

    seconds: float
    clients: int
    rate: float
    slice_seconds: float


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was measured: every request, and the peak memory of each side in bytes if known."""

    run: Run
    memory: tuple[int | None, int | None]


async def load_both(
    sides: tuple[SubjectSpec, SubjectSpec],
    items: Sequence[Item],
    load: Load,
    seed: int,
    on_progress: Callable[[Step], None],
) -> Loaded:
    """Serves both sides and loads them in turns.

    Args:
        sides: The baseline and the candidate, which `check_loadable` has checked.
        items: The data set.
        load: The load.
        seed: Draws the questions and their order; both sides get the same.
        on_progress: Called a few times per second.

    Raises:
        EnvironmentFault: A side does not start or does not answer.
    """
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="silkline-load-")))
        traffic = Traffic(
            requests=str(_write_requests(items, seed, folder)),
            zipf=0.0,
            max_tokens=sides[0].max_tokens,
            stream=True,
        )
        both = [
            await stack.enter_async_context(served(side, name))
            for name, side in zip("AB", sides, strict=True)
        ]
        spec = Spec(
            targets=tuple(side.target for side in both),
            arrivals=Arrivals(load.rate or 1.0, load.seconds, seed=seed, clients=load.clients),
            traffic=traffic,
            slice_seconds=load.slice_seconds,
            warm=_WARM,
        )
        run = await run_bench(spec, on_progress)
        return Loaded(run, (both[0].peak_bytes(), both[1].peak_bytes()))


def check_loadable(sides: tuple[SubjectSpec, SubjectSpec]) -> None:
    """Checks that both sides can get the same requests.

    Raises:
        ConfigError: They differ in what only a request can say.
    """
    if sides[0].max_tokens != sides[1].max_tokens or any(side.max_pixels for side in sides):
        raise ConfigError(
            "Requirements on speed need the same requests to both sides, but max_tokens differs or "
            "max_pixels is set. Use --max-tokens for both, and leave max_pixels out."
        )


def _write_requests(items: Sequence[Item], seed: int, folder: Path) -> Path:
    """Writes the requests of the load test, and inline images as files beside it."""
    distinct = list({item.key: item for item in items}.values())
    chosen = distinct
    if len(distinct) > _MAX_QUESTIONS:
        chosen = random.Random(seed).sample(distinct, _MAX_QUESTIONS)  # noqa: S311 - no secret
    path = folder / "requests.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for number, item in enumerate(chosen):
            image = _image(item, folder / f"{number}.jpg")
            file.write(json.dumps({"picture": image, "prompt": item.prompt}) + "\n")
    return path


def _image(item: Item, file: Path) -> str:
    """An image as the load test takes it: a path or a URL."""
    text = item.image.text
    inline = text.lower().startswith("data:")
    if item.image.kind is ImageKind.FILE or (item.image.kind is ImageKind.URL and not inline):
        return text
    try:
        file.write_bytes(base64.b64decode(text.partition(",")[2] if inline else text))
    except binascii.Error as error:
        raise ConfigError(
            f"The image of item {item.id} is not Base64, so it cannot be sent."
        ) from error
    return str(file)
