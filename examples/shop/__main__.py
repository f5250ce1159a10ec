"""The shop's commands: python -m examples.shop COMMAND."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec
import uvicorn
from rich.progress import Progress

from examples.shop.describing import Describer
from examples.shop.generated import draw
from examples.shop.images import Images
from examples.shop.measure import measure
from examples.shop.settings import Settings, read_settings
from examples.shop.tables import Tables
from examples.shop.web import create_app

_SERVED = Path(__file__).with_name("silkline.toml")
_CONTRADICTIONS = 0.1


@click.group()
def shop() -> None:
    """A shop that describes its products from their images; see docs/shop.md."""


@shop.command()
@click.option("--products", default=60, show_default=True, type=click.IntRange(1, 900_000))
@click.option("--port", default=8100, show_default=True, type=click.IntRange(0, 65_535))
def up(products: int, port: int) -> None:
    """Serve the bundled model, draw products, describe them and open the shop."""
    with served() as url:
        settings = read_settings(
            server=f"{url}/v1", webhook_secret=read_settings().webhook_secret or secrets.token_hex()
        )
        describer = _describer(settings)
        if not describer.tables.ids():
            _seed(describer, products)
        threading.Thread(target=_describe, args=(describer,), daemon=True).start()
        click.echo(f"Silkline: {url}\nShop:     http://127.0.0.1:{port}")
        _serve(describer, settings, port)


@shop.command()
@click.option("--products", default=60, show_default=True, type=click.IntRange(1, 900_000))
def seed(products: int) -> None:
    """Draw products into the product table; a tenth has one wrong value."""
    _seed(_describer(read_settings()), products)


@shop.command()
def describe() -> None:
    """Describe the whole catalogue; products with a fresh description cost nothing."""
    failed = _describe(_describer(read_settings()))
    sys.exit(1 if failed else 0)


@shop.command()
@click.option("--port", default=8100, show_default=True, type=click.IntRange(0, 65_535))
def serve(port: int) -> None:
    """Serve the shop's pages, for a Silkline that runs."""
    settings = read_settings()
    _serve(_describer(settings), settings, port)


@shop.command(name="measure")
@click.option("--products", default=1000, show_default=True, type=click.IntRange(1, 900_000))
def measured(products: int) -> None:
    """Count what goes wrong with generated products whose truth is known."""
    with served() as url, Progress() as progress:
        task = progress.add_task("Describing", total=products)
        figures = measure(products, f"{url}/v1", lambda done: progress.update(task, completed=done))
    click.echo(json.dumps(msgspec.to_builtins(figures), indent=2))


@contextmanager
def served() -> Iterator[str]:
    """Runs Silkline with the bundled model until the block ends; gives its address."""
    command = [sys.executable, "-m", "silkline", "up", "--config", str(_SERVED)]
    process = subprocess.Popen(  # noqa: S603 - our own command
        [*command, "--port", "0", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        line = process.stdout.readline() if process.stdout else ""
        if not line:
            raise click.ClickException(f"Silkline did not start. Run: {' '.join(command)}")
        yield json.loads(line)["url"]
    finally:
        process.terminate()
        process.wait()


def _describer(settings: Settings) -> Describer:
    return Describer(settings, Tables(settings.database), Images(settings.images))


def _seed(describer: Describer, products: int) -> None:
    for number in range(products):
        drawn = draw(number, describer.images, planted_share=_CONTRADICTIONS)
        describer.tables.put(drawn.product)


def _describe(describer: Describer) -> dict[str, str]:
    identities = describer.tables.ids()
    progress = _every(100, f"of {len(identities)} products described")
    failed = describer.describe_all(identities, progress)
    counts = ", ".join(f"{count} {state}" for state, count in describer.tables.counts().items())
    click.echo(f"Descriptions: {counts}; {len(failed)} products failed")
    return failed


def _every(step: int, text: str) -> Callable[[int], None]:
    def told(done: int) -> None:
        if done % step == 0:
            click.echo(f"{done} {text}")

    return told


def _serve(describer: Describer, settings: Settings, port: int) -> None:
    app = create_app(describer, settings.webhook_secret)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    shop()
