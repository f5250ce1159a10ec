"""`silkline describe`: one or more pictures, now, without a server."""

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
from silkline.gateway.predict import DEFAULT_PROMPT, PredictAnswer, predict_answer
from silkline.models.hub import parse_hub_id
from silkline.models.printable import printable
from silkline.models.resolve import BUNDLED_MODEL
from silkline.observe.logs import configure_logging
from silkline.service.answering import Answering
from silkline.service.local import create_intake, open_answering, read_image
from silkline.service.question import Question
from silkline.service.record import RequestRecord

Outcome = PredictAnswer | SilklineError
"""What becomes of a picture."""

_MAX_SPELLED = len(r"\U0010ffff")
"""Characters that `printable` makes of one."""

_A_FEW = 3
"""Up to so many pictures, nobody wants to know how fast they go."""


@click.command()
@click.argument("pictures", nargs=-1, required=True, metavar="[MODEL] PICTURE...")
@click.option("--prompt", default=DEFAULT_PROMPT, show_default=True, help="What to ask.")
@click.option(
    "--max-tokens",
    default=Sampling().max_tokens,
    show_default=True,
    type=click.IntRange(min=1),
    help="Most tokens of an answer.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a picture.")
@settings_options("limits", "fetch", "decode", "engine")
def describe(
    config: Path | None,
    images: tuple[str, ...],
    prompt: str,
    max_tokens: int,
    as_json: bool,
    **flags: Any,
) -> None:
    """Answer about each PICTURE, a file or a URL, with the model that `up` would serve.

    A first argument that is a folder, the bundled model's name, or a hub id, and no file, is the
    MODEL, as with --model.

    A picture that fails is named and the others are answered; the command then ends with 1. With
    --json a line holds what /predict answers and the picture, or the picture and the error.
    """
    if len(images) > 1 and _is_model(images[0]):
        flags["model"] = one_model(images[0], flags["model"])
        images = images[1:]
    settings = settings_from(config, flags)
    configure_logging(LogSettings(log_level="warning"))
    asked = _Asked(prompt, Sampling(max_tokens=max_tokens), settings.limits.max_image_bytes)
    if not uvloop.run(_describe(settings, images, asked, as_json=as_json)):
        sys.exit(EXIT.failed)


def _is_model(argument: str) -> bool:
    """Whether an argument is a model and no picture: a folder, or a name that no file has."""
    path = Path(argument)
    if path.is_dir() or argument == BUNDLED_MODEL:
        return True
    if path.suffix.lower() in IMAGE_ENDINGS or path.exists():
        return False
    return parse_hub_id(argument) is not None


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is asked about each picture."""

    prompt: str
    sampling: Sampling
    max_bytes: int

    async def answer(self, answering: Answering, image: str) -> Outcome:
        """Asks about a picture; an error is an outcome like another."""
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
    """Prints what becomes of each picture; whether all were answered."""
    failed = 0
    at_once = min(settings.engine.max_batch, settings.admission.max_queue)
    with Console(stderr=True).status("loading the model") as status:
        async with (
            create_intake(settings) as intake,
            open_answering(settings, intake, print_notice, status.update) as answering,
            aclosing(_in_order(partial(asked.answer, answering), images, at_once)) as outcomes,
        ):
            began = time.monotonic()
            async for place, outcome in outcomes:
                failed += isinstance(outcome, SilklineError)
                status.stop()  # or the line would land beside the spinner
                _print(images[place], outcome, as_json=as_json)
                status.update(_progress(place + 1, len(images), time.monotonic() - began))
                status.start()
    return failed == 0


async def _in_order(
    answer: Callable[[str], Awaitable[Outcome]], images: Sequence[str], at_once: int
) -> AsyncGenerator[tuple[int, Outcome], None]:
    """The outcomes with their places, in order; `at_once` of them are worked on at a time."""
    slots = asyncio.Semaphore(at_once)

    async def in_turn(image: str) -> Outcome:
        async with slots:
            return await answer(image)

    tasks = [asyncio.create_task(in_turn(image)) for image in images]
    try:
        for place, task in enumerate(tasks):
            yield place, await task
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
        told = json.dumps(line, ensure_ascii=False)
        # A file's name may be no UTF-8; JSON spells what stands for its bytes as this does.
        click.echo(told.encode("utf-8", "backslashreplace"))
    elif isinstance(outcome, SilklineError):
        click.echo(f"silkline: {_shown(f'{picture}: {outcome.message}')}", err=True)
    else:
        lines = f"{image}: {outcome.response}".split("\n")
        click.echo("\n".join(map(_shown, lines)))


def _shown(line: str) -> str:
    """A file's name or a model's words, whole, and nothing that a terminal obeys."""
    return printable(line, _MAX_SPELLED * len(line) + _A_FEW)


def _progress(done: int, total: int, seconds: float) -> str:
    rate = f", {done / seconds:.1f}/s" if total > _A_FEW and seconds > 0 else ""
    return f"{done} of {total} pictures{rate}"
