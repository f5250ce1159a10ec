"""`silkline up`: serve a model."""

from __future__ import annotations

import json
import shlex
import time
from pathlib import Path
from typing import Any

import click
import psutil
import uvloop
from rich.console import Console
from rich.status import Status

from silkline import __version__
from silkline.cli.settings_options import SectionedCommand, one_model, settings_options
from silkline.config import Settings, settings_from
from silkline.engines.registry import Choice
from silkline.gateway.address import check_free, reserved, url_of
from silkline.gateway.console_files import SAMPLE
from silkline.gateway.processes.channel import Ready
from silkline.gateway.processes.owner import Owner
from silkline.gateway.running import run_gateway
from silkline.gateway.server import GatewayServer
from silkline.models.printable import printable
from silkline.observe.logs import configure_logging
from silkline.service.pool import create_pool, create_workers, why_chosen


@click.command(cls=SectionedCommand)
@click.argument("served", required=False, metavar="[MODEL]")
@settings_options(
    "server",
    "auth",
    "limits",
    "fetch",
    "decode",
    "cache",
    "idempotency",
    "responses",
    "admission",
    "engine",
    "log",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON line when the server is ready."
)
def up(served: str | None, config: Path | None, as_json: bool, **flags: Any) -> None:
    """Serve a model behind the OpenAI API, /predict and a web console.

    MODEL is a folder, a bundle, or a Hugging Face model in the local cache, org/name or
    org/name@revision; it is the same as --model. For the engine openvino, a model is exported to
    OpenVINO's format once, if needed. Without options, the bundled model is served on
    http://127.0.0.1:8000. SIGTERM or Ctrl-C lets running requests finish; a second one cancels
    them.
    """
    if served is not None:
        flags["model"] = one_model(served, flags["model"])
    settings = settings_from(config, flags)
    configure_logging(settings.log)
    uvloop.run(_serve(settings, as_json=as_json))


async def _serve(settings: Settings, *, as_json: bool) -> None:
    check_free(settings.server.host, settings.server.port)
    with Console(stderr=True).status("checking the model's files") as status:
        if settings.server.processes > 1:
            await _serve_with_processes(settings, status, as_json=as_json)
            return
        served = await create_pool(settings, status.update)

        def ready(server: GatewayServer) -> None:
            status.stop()
            info = served.pool.info
            what = Ready(info.model, info.revision, info.engine, info.precision)
            _announce(what, served.choice, url_of(*server.address), as_json=as_json)

        status.update("loading the model")
        try:
            await run_gateway(settings, served.pool, ready)
        finally:
            await served.aclose()


async def _serve_with_processes(settings: Settings, status: Status, *, as_json: bool) -> None:
    """Runs the owner of several gateway processes in this process."""
    host, port = settings.server.host, settings.server.port
    with reserved(host, port) as sockets:
        url = url_of(*sockets[0].getsockname()[:2])
        created = await create_workers(settings, status.update)

        def ready(what: Ready) -> None:
            status.stop()
            _announce(what, created.choice, url, as_json=as_json)

        status.update("loading the model")
        try:
            check_free(host, port)  # this took a while, and a shared port can be bound again
            await Owner(settings, created.workers, sockets, ready).run()
        finally:
            if created.hold is not None:
                created.hold.release()


def _process_seconds() -> float:
    """Seconds since this process began."""
    return time.time() - psutil.Process().create_time()


def _announce(info: Ready, choice: Choice, url: str, *, as_json: bool) -> None:
    seconds = _process_seconds()
    if as_json:
        ready = {
            "url": url,
            "model": info.model,
            "revision": info.revision,
            "engine": info.engine,
            "passed_over": dict(choice.passed_over),
            "seconds": seconds,
        }
        click.echo(json.dumps(ready))
        return
    why = f"{reason}\n" if (reason := why_chosen(choice)) else ""
    predict, image = shlex.quote(f"{url}/predict"), shlex.quote(f"image=@{SAMPLE}")
    click.echo(
        f"Silkline {__version__} serves {printable(f'{info.model}@{info.revision}')} "
        f"({info.engine}, {info.precision}); ready in {seconds:.1f} s\n"
        f"{why}\n"
        f"  {url}\n\n"
        f"  curl -s {predict} -F {image} -F prompt='Describe this product.'\n"
    )
