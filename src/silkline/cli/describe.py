"""`silkline describe`: one or more pictures, now, without a server."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import click
import uvloop
from rich.console import Console

from silkline.cli.serving import create_pool
from silkline.cli.settings_options import settings_from, settings_options
from silkline.config import LogSettings, Settings
from silkline.core import Answer, ImagePart, Message, Role, Sampling, TextPart
from silkline.errors import ConfigError
from silkline.gateway.answering import Answering, rounded
from silkline.gateway.lifecycle import Lifecycle
from silkline.gateway.predict import DEFAULT_PROMPT
from silkline.gateway.question import Question
from silkline.gateway.scope import RequestRecord
from silkline.ingress.intake import Intake
from silkline.ingress.source import Source, parse_url, uploaded
from silkline.observe.logs import configure_logging
from silkline.observe.metrics import Metrics


@click.command()
@click.argument("pictures", nargs=-1, required=True, metavar="PICTURE...")
@click.option("--prompt", default=DEFAULT_PROMPT, show_default=True, help="What to ask.")
@click.option("--max-tokens", default=Sampling().max_tokens, show_default=True, type=int)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a picture.")
@settings_options("limits", "fetch", "decode", "engine")
def describe(
    config: Path | None,
    pictures: tuple[str, ...],
    prompt: str,
    max_tokens: int,
    as_json: bool,
    **flags: Any,
) -> None:
    """Answer about each PICTURE, a file or a URL, with the model that `up` would serve."""
    settings = settings_from(config, flags)
    configure_logging(LogSettings(log_level="warning"))
    questions = [
        Question(
            model=None,
            messages=(Message(Role.USER, (ImagePart(0), TextPart(prompt))),),
            sources=(_source(picture),),
            sampling=Sampling(max_tokens=max_tokens),
            stream=False,
        )
        for picture in pictures
    ]
    uvloop.run(_describe(settings, pictures, questions, as_json=as_json))


async def _describe(
    settings: Settings, pictures: tuple[str, ...], questions: list[Question], *, as_json: bool
) -> None:
    with Console(stderr=True).status("loading the model") as status:
        async with aclosing(_answers(settings, questions)) as answers:
            shown = 0
            async for answer in answers:
                _print(pictures[shown], answer, alone=len(pictures) == 1, as_json=as_json)
                shown += 1
                status.update(f"{shown} of {len(pictures)} pictures")


async def _answers(settings: Settings, questions: list[Question]) -> AsyncGenerator[Answer, None]:
    async with _answering(settings) as answering:
        for question in questions:
            record = RequestRecord(id=uuid.uuid4().hex)
            prepared = await answering.prepare(question, record)
            yield await answering.whole(prepared, record)


@asynccontextmanager
async def _answering(settings: Settings) -> AsyncGenerator[Answering, None]:
    pool = create_pool(settings)
    try:
        async with Intake(settings.limits, settings.fetch, settings.decode) as intake:
            await pool.start()
            yield Answering(settings, intake, pool, Metrics(), Lifecycle())
    finally:
        await pool.aclose()


def _source(picture: str) -> Source:
    if "://" in picture:
        return parse_url(picture, param="PICTURE")
    try:
        return uploaded(Path(picture).read_bytes(), param="PICTURE")
    except OSError as error:
        raise ConfigError(f"The picture {picture} cannot be read: {error.strerror}.") from error


def _print(picture: str, answer: Answer, *, alone: bool, as_json: bool) -> None:
    if as_json:
        line = {
            "picture": picture,
            "answer": answer.text,
            "prompt_tokens": answer.usage.prompt_tokens,
            "completion_tokens": answer.usage.completion_tokens,
            "timeline": rounded(answer.timeline),
        }
        click.echo(json.dumps(line, ensure_ascii=False))
    else:
        click.echo(answer.text if alone else f"{picture}: {answer.text}")
