"""`silkline up`: serve a model."""

from __future__ import annotations

import asyncio
import json
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import psutil
import uvloop
from rich.console import Console
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from silkline import __version__
from silkline.cli.listening import check_listening, not_listening, url_of
from silkline.cli.settings_options import SectionedCommand, settings_options
from silkline.config import DEFAULT_FILE, Settings, settings_from
from silkline.core import EngineInfo
from silkline.gateway.app import create_app
from silkline.gateway.console_files import SAMPLE
from silkline.gateway.server import GatewayServer
from silkline.models.printable import printable
from silkline.observe.heap import freeze_heap
from silkline.observe.logs import configure_logging
from silkline.service.create import create_models
from silkline.service.lifecycle import Lifecycle
from silkline.service.manager import ModelManager
from silkline.service.models import ServedModels
from silkline.service.pool import why_chosen
from silkline.service.selection import selected
from silkline.service.served_model import ServedModel


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
    "admission",
    "engine",
    "admin",
    "log",
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
    with Console(stderr=True).status("checking the model's files") as status:
        manager = await create_models(settings, reread, status.update)
        lifecycle = Lifecycle()
        if reread is not None:
            lifecycle.at_hangup(manager.request_reload)
        app = _Startup(create_app(settings, manager, lifecycle))
        server = GatewayServer(app, settings.server, lifecycle, give_up=manager.aclose)
        serving = asyncio.create_task(_listen(server, app, settings), name="gateway")
        try:
            status.update("loading the model")
            if await _is_ready(serving, server, manager):
                status.stop()
                freeze_heap()
                _announce(manager.models, server, _process_seconds(), as_json=as_json)
            await serving
        finally:
            server.should_exit = True
            await asyncio.gather(serving, return_exceptions=True)
            await manager.aclose()


async def _is_ready(
    serving: asyncio.Task[None], server: GatewayServer, manager: ModelManager
) -> bool:
    """Waits until the server is ready; returns False if it ends, or must end, before that."""
    ready = asyncio.create_task(_ready(server, manager), name="engines")
    await asyncio.wait({serving, ready}, return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        ready.cancel()
        return False
    await ready
    return not server.should_exit


async def _ready(server: GatewayServer, manager: ModelManager) -> None:
    await manager.start()
    await server.listening.wait()


async def _listen(server: GatewayServer, app: _Startup, settings: Settings) -> None:
    """Runs the server.

    If uvicorn cannot start, it only logs the reason and raises `SystemExit`: either the application
    failed to start, or the address cannot be bound, and the `OSError` is the exit's context. So the
    address is checked first, to report the error once.
    """
    host, port = settings.server.host, settings.server.port
    try:
        check_listening(host, port)
    except OSError as error:
        raise not_listening(host, port, error) from error
    try:
        await server.serve()
    except SystemExit as error:
        if app.failure is not None:
            raise app.failure from None
        if isinstance(error.__context__, OSError):
            raise not_listening(host, port, error.__context__) from error
        raise


class _Startup:
    """Keeps the error that the application's startup raised, so that `_listen` can report it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.failure: Exception | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return
        try:
            await self._app(scope, receive, _without_trace(send))
        except Exception as error:
            self.failure = error
            raise


def _without_trace(send: Send) -> Send:
    """Removes the traceback that uvicorn would log: the error itself is reported."""

    async def send_without_trace(message: Message) -> None:
        await send({name: value for name, value in message.items() if name != "message"})

    return send_without_trace


def _process_seconds() -> float:
    """Seconds since this process began."""
    return time.time() - psutil.Process().create_time()


def _announce(
    models: ServedModels, server: GatewayServer, seconds: float, *, as_json: bool
) -> None:
    url = url_of(*server.address)
    if as_json:
        found = [_as_json(model) for model in models.reported]
        click.echo(json.dumps({"url": url, **found[0], "models": found, "seconds": seconds}))
        return
    served = " and ".join(
        f"{printable(model.label)} ({_engine(model.info)}, {model.info.precision})"
        for model in models.reported
    )
    whys = [f"{why}\n" for model in models if (why := why_chosen(model.prepared.choice))]
    predict, image = shlex.quote(f"{url}/predict"), shlex.quote(f"image=@{SAMPLE}")
    click.echo(
        f"Silkline {__version__} serves {served}; ready in {seconds:.1f} s\n"
        f"{''.join(whys)}\n"
        f"  {url}\n\n"
        f"  curl -s {predict} -F {image} -F prompt='Describe this product.'\n"
    )


def _as_json(model: ServedModel) -> dict[str, object]:
    info = model.info
    return {
        "model": info.model,
        "revision": info.revision,
        "engine": info.engine,
        "path": info.path,
        "passed_over": dict(model.prepared.choice.passed_over),
    }


def _engine(info: EngineInfo) -> str:
    return f"{info.engine}, path={info.path}" if info.path else info.engine
