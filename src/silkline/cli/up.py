"""`silkline up`: serve a model."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import click
import uvloop
from rich.console import Console

from silkline import __version__
from silkline.cli.serving import create_pool
from silkline.cli.settings_options import settings_from, settings_options
from silkline.config import Settings
from silkline.errors import EnvironmentFault
from silkline.gateway.app import create_app
from silkline.gateway.console_files import SAMPLE
from silkline.gateway.lifecycle import Lifecycle
from silkline.gateway.server import GatewayServer
from silkline.observe.logs import configure_logging
from silkline.routing.pool import EnginePool


@click.command()
@settings_options("server", "limits", "fetch", "decode", "engine", "log")
@click.option("--json", "as_json", is_flag=True, help="Say when it is ready as one JSON line.")
def up(config: Path | None, as_json: bool, **flags: Any) -> None:
    """Serve a model behind the OpenAI API, /predict and a web console.

    With no option it serves the bundled model on http://127.0.0.1:8000. SIGTERM or Ctrl-C lets
    running requests end; a second one does not.
    """
    settings = settings_from(config, flags)
    configure_logging(settings.log)
    uvloop.run(_serve(settings, as_json=as_json))


async def _serve(settings: Settings, *, as_json: bool) -> None:
    began = time.monotonic()
    lifecycle = Lifecycle()
    pool = create_pool(settings)
    app = create_app(settings, pool, lifecycle)
    server = GatewayServer(app, settings.server, lifecycle)
    console = Console(stderr=True)
    serving = asyncio.create_task(_listen(server, settings), name="gateway")
    try:
        with console.status("loading the model"):
            ready = asyncio.create_task(_ready(server, pool), name="engines")
            await asyncio.wait({serving, ready}, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                ready.cancel()
            else:
                await ready
                _announce(pool, server, time.monotonic() - began, as_json=as_json)
        await serving
    finally:
        server.should_exit = True
        await asyncio.gather(serving, return_exceptions=True)
        await pool.aclose()


async def _ready(server: GatewayServer, pool: EnginePool) -> None:
    await pool.start()
    await server.listening.wait()


async def _listen(server: GatewayServer, settings: Settings) -> None:
    """Runs the server; uvicorn reports an address that is taken by exiting."""
    try:
        await server.serve()
    except SystemExit as error:
        host, port = settings.server.host, settings.server.port
        raise EnvironmentFault(
            f"The gateway cannot listen on {host}:{port}; the log above says why.",
            remedy=f"silkline up --port {port + 1}",
        ) from error


def _announce(pool: EnginePool, server: GatewayServer, seconds: float, *, as_json: bool) -> None:
    info = pool.info
    host, port = server.address
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    if as_json:
        ready = {"url": url, "model": info.model, "revision": info.revision, "seconds": seconds}
        click.echo(json.dumps(ready))
        return
    click.echo(
        f"Silkline {__version__} serves {info.model}@{info.revision} "
        f"({info.engine}, {info.precision}); ready in {seconds:.1f} s\n\n"
        f"  {url}\n\n"
        f"  curl -s {url}/predict -F image=@{SAMPLE} -F prompt='Describe this product.'\n"
    )
