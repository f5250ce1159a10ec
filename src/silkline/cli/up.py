"""`silkline up`: serve a model."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import psutil
import uvloop
from rich.console import Console
from rich.status import Status

from silkline import __version__
from silkline.cli.settings_options import SectionedCommand, settings_options
from silkline.config import DEFAULT_FILE, Settings, settings_from
from silkline.core import EngineInfo
from silkline.engines.registry import Choice
from silkline.gateway.address import check_free, reserved, url_of
from silkline.gateway.console_files import SAMPLE
from silkline.gateway.processes.channel import Ready
from silkline.gateway.processes.owner import Owner
from silkline.gateway.running import run_gateway
from silkline.gateway.server import GatewayServer
from silkline.models.printable import printable
from silkline.observe.logs import configure_logging
from silkline.service.create import create_models
from silkline.service.pool import prepare, why_chosen
from silkline.service.selection import selected
from silkline.service.shares import only_model


@click.command(cls=SectionedCommand)
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@settings_options(
    "server",
    "auth",
    "limits",
    "fetch",
    "decode",
    "cache",
    "idempotency",
    "responses",
    "history",
    "admission",
    "engine",
    "admin",
    "log",
    "slo",
    "monitoring",
    "traces",
    "experimenting",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON line when the server is ready."
)
def up(models: tuple[str, ...], config: Path | None, as_json: bool, **flags: Any) -> None:
    """Serve one or more models behind the OpenAI API, /predict and a web console.

    MODEL is a folder, a bundle, a Hugging Face model in the local cache, org/name or
    org/name@revision, or the name of a table in [models] of silkline.toml; one MODEL is the same as
    --model. For the engine openvino, a model is exported to OpenVINO's format once, if needed.
    Without MODEL, the tables in [models] are served, or else the model of [engine]; without
    options, that is the bundled model, on http://127.0.0.1:8000. SIGTERM or Ctrl-C lets running
    requests finish; a second one cancels them.
    """
    named = flags.pop("model")
    if named is not None and models not in {(), (named,)}:
        raise click.UsageError(
            f"MODEL is {' '.join(models)}, but --model is {named}; use only one of them."
        )
    chosen = (named,) if named is not None else models

    def read() -> Settings:
        return selected(settings_from(config, flags), chosen)

    settings = read()
    has_file = config is not None or Path(DEFAULT_FILE).is_file()
    configure_logging(settings.log)
    uvloop.run(_serve(settings, read if has_file else None, as_json=as_json))


async def _serve(
    settings: Settings, reread: Callable[[], Settings] | None, *, as_json: bool
) -> None:
    check_free(settings.server.host, settings.server.port)
    with Console(stderr=True).status("checking the model's files") as status:
        if settings.server.processes > 1:
            await _serve_with_processes(
                settings, status, has_file=reread is not None, as_json=as_json
            )
            return
        deployment = await create_models(settings, reread, status.update)

        def ready(server: GatewayServer) -> None:
            status.stop()
            served = [(model.info, model.prepared.choice) for model in deployment.models.reported]
            _announce(served, url_of(*server.address), as_json=as_json)

        status.update("loading the model")
        try:
            await run_gateway(settings, deployment, ready)
        finally:
            await deployment.aclose()


async def _serve_with_processes(
    settings: Settings, status: Status, *, has_file: bool, as_json: bool
) -> None:
    """Runs the owner of several gateway processes in this process."""
    wanted = only_model(settings)
    host, port = settings.server.host, settings.server.port
    with reserved(host, port) as sockets:
        url = url_of(*sockets[0].getsockname()[:2])
        model = await prepare(wanted, status.update)

        def ready(what: Ready) -> None:
            status.stop()
            _announce([(what.info, model.choice)], url, as_json=as_json)

        status.update("loading the model")
        try:
            check_free(host, port)  # this took a while, and a shared port can be bound again
            await Owner(settings, model, sockets, ready, has_file=has_file).run()
        finally:
            model.release()


def _process_seconds() -> float:
    """Seconds since this process began."""
    return time.time() - psutil.Process().create_time()


def _announce(served: Sequence[tuple[EngineInfo, Choice]], url: str, *, as_json: bool) -> None:
    seconds = _process_seconds()
    if as_json:
        found = [_as_json(info, choice) for info, choice in served]
        click.echo(json.dumps({"url": url, **found[0], "models": found, "seconds": seconds}))
        return
    names = " and ".join(
        f"{printable(info.label)} ({_engine(info)}, {info.precision})" for info, _ in served
    )
    whys = [f"{why}\n" for _, choice in served if (why := why_chosen(choice))]
    predict, image = shlex.quote(f"{url}/predict"), shlex.quote(f"image=@{SAMPLE}")
    click.echo(
        f"Silkline {__version__} serves {names}; ready in {seconds:.1f} s\n"
        f"{''.join(whys)}\n"
        f"  {url}\n\n"
        f"  curl -s {predict} -F {image} -F prompt='Describe this product.'\n"
    )


def _as_json(info: EngineInfo, choice: Choice) -> dict[str, object]:
    return {
        "model": info.model,
        "revision": info.revision,
        "engine": info.engine,
        "path": info.path,
        "passed_over": dict(choice.passed_over),
    }


def _engine(info: EngineInfo) -> str:
    return f"{info.engine}, path={info.path}" if info.path else info.engine
