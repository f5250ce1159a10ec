"""`silkline describe`: answer about one or more images, without a server."""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
import msgspec
import uvloop
from rich.console import Console

from silkline.cli.printing import print_notice
from silkline.cli.settings_options import one_model, settings_options
from silkline.config import LogSettings, Settings, settings_from
from silkline.core import ImagePart, Message, Role, Sampling, TextPart
from silkline.errors import EXIT, SilklineError, http_face
from silkline.evaluate.rows import IMAGE_ENDINGS
from silkline.gateway.faces.predict import DEFAULT_PROMPT, PredictAnswer, predict_answer
from silkline.models.hub import parse_hub_id
from silkline.models.printable import printable
from silkline.models.resolve import BUNDLED_MODEL
from silkline.observe.logs import configure_logging
from silkline.service.answering import Answering
from silkline.service.local import create_intake, open_answering, read_image
from silkline.service.question import Question
from silkline.service.record import RequestRecord
from silkline.service.selection import selected

Outcome = PredictAnswer | SilklineError
"""The result for one image."""

_MAX_ESCAPED = len(r"\U0010ffff")
"""Maximum characters that `printable` writes for one character."""

_A_FEW = 3
"""Up to this many images, the rate is not shown."""


@click.command()
@click.argument("images", nargs=-1, required=True, metavar="[MODEL] PICTURE...")
@click.option(
    "--prompt", default=DEFAULT_PROMPT, show_default=True, help="Question about each image."
)
@click.option(
    "--max-tokens",
    default=Sampling().max_tokens,
    show_default=True,
    type=click.IntRange(min=1),
    help="Maximum tokens of an answer.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per image.")
@settings_options("limits", "fetch", "decode", "engine")
def describe(
    config: Path | None,
    images: tuple[str, ...],
    prompt: str,
    max_tokens: int,
    as_json: bool,
    **flags: Any,
) -> None:
    """Answer a question about each PICTURE, a file or a URL, with the model that `up` would serve.

    The first argument is the MODEL, as with --model, if it is a folder, the bundled model's name,
    or a hub id that is not also a file.

    If an image fails, its error is printed, the others are still answered, and the command exits
    with 1. With --json, each line has the image and either the response of /predict or the error.
    """
    if len(images) > 1 and _is_model(images[0]):
        flags["model"] = one_model(images[0], flags["model"])
        images = images[1:]
    named = flags.pop("model")
    settings = selected(settings_from(config, flags), () if named is None else (named,))
    configure_logging(LogSettings(log_level="warning"))
    asked = _Asked(prompt, Sampling(max_tokens=max_tokens), settings.limits.max_image_bytes)
    if not uvloop.run(_describe(settings, images, asked, as_json=as_json)):
        sys.exit(EXIT.failed)


def _is_model(argument: str) -> bool:
    """Whether an argument is a model, not an image: a folder, or a name that is not a file's."""
    path = Path(argument)
    if path.is_dir() or argument == BUNDLED_MODEL:
        return True
    if path.suffix.lower() in IMAGE_ENDINGS or path.exists():
        return False
    return parse_hub_id(argument) is not None


@dataclass(frozen=True, slots=True)
class _Asked:
    """The question about each image."""

    prompt: str
    sampling: Sampling
    max_bytes: int

    async def answer(self, answering: Answering, image: str) -> Outcome:
        """Asks about an image; returns a `SilklineError` instead of raising it."""
        record = RequestRecord(id=uuid.uuid4().hex)
        try:
            source = await asyncio.to_thread(read_image, image, self.max_bytes, param="PICTURE")
            question = Question(
                model=None,
                messages=(Message(Role.USER, (ImagePart(0), TextPart(self.prompt))),),
                sources=(source,),
                sampling=self.sampling,
                stream=False,
            )
            answer = await answering.answer(question, record)
        except SilklineError as error:
            return error
        return predict_answer(answer, model=record.served, cache=record.cache, request_id=record.id)


async def _describe(
    settings: Settings, images: tuple[str, ...], asked: _Asked, *, as_json: bool
) -> bool:
    """Prints the outcome of each image; returns whether all were answered."""
    failed = 0
    at_once = min(settings.engine.max_batch, settings.admission.max_queue)
    with Console(stderr=True).status("loading the model") as status:
        async with (
            create_intake(settings) as intake,
            open_answering(settings, intake, print_notice, status.update) as answering,
            aclosing(_in_order(partial(asked.answer, answering), images, at_once)) as outcomes,
        ):
            began = time.monotonic()
            async for index, outcome in outcomes:
                failed += isinstance(outcome, SilklineError)
                status.stop()  # otherwise the line would be printed beside the spinner
                _print(images[index], outcome, as_json=as_json)
                status.update(_progress(index + 1, len(images), time.monotonic() - began))
                status.start()
    return failed == 0


async def _in_order(
    answer: Callable[[str], Awaitable[Outcome]], images: Sequence[str], at_once: int
) -> AsyncGenerator[tuple[int, Outcome], None]:
    """Yields index and outcome of each image, in order; works on `at_once` images at a time."""
    slots = asyncio.Semaphore(at_once)

    async def in_turn(image: str) -> Outcome:
        async with slots:
            return await answer(image)

    tasks = [asyncio.create_task(in_turn(image)) for image in images]
    try:
        for index, task in enumerate(tasks):
            yield index, await task
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _print(image: str, outcome: Outcome, *, as_json: bool) -> None:
    if as_json:
        if isinstance(outcome, SilklineError):
            error = {"code": http_face(outcome).code, "message": outcome.message}
            line = {"picture": image, "error": error}
        else:
            line = {"picture": image, **msgspec.to_builtins(outcome)}
        text = json.dumps(line, ensure_ascii=False)
        # A file name may not be valid UTF-8: JSON escapes its surrogates as this does.
        click.echo(text.encode("utf-8", "backslashreplace"))
    elif isinstance(outcome, SilklineError):
        click.echo(f"silkline: {_shown(f'{image}: {outcome.message}')}", err=True)
    else:
        lines = f"{image}: {outcome.response}".split("\n")
        click.echo("\n".join(map(_shown, lines)))


def _shown(line: str) -> str:
    """Escapes control characters of a file name or an answer, without shortening it."""
    return printable(line, _MAX_ESCAPED * len(line) + _A_FEW)


def _progress(done: int, total: int, seconds: float) -> str:
    rate = f", {done / seconds:.1f}/s" if total > _A_FEW and seconds > 0 else ""
    return f"{done} of {total} images{rate}"
