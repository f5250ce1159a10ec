"""Runs a gateway over the served models until it is told to stop."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable, Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from silkline.config import Settings
from silkline.gateway.address import not_listening
from silkline.gateway.app import create_app
from silkline.gateway.server import GatewayServer
from silkline.gateway.siblings import Siblings
from silkline.observe.heap import freeze_heap
from silkline.service.deployment import Deployment
from silkline.service.lifecycle import Lifecycle


async def run_gateway(
    settings: Settings,
    deployment: Deployment,
    on_ready: Callable[[GatewayServer], None],
    *,
    sockets: Sequence[socket.socket] | None = None,
    siblings: Siblings | None = None,
) -> None:
    """Starts the models, and serves until a signal drains the server.

    Args:
        settings: The settings.
        deployment: The models; the caller closes them.
        on_ready: Called once the server accepts connections and the models serve.
        sockets: Bound sockets to listen on; None binds the address in the settings.
        siblings: What the gateway shares with other gateway processes.

    Raises:
        SilklineError: The models or the application cannot start, or the address cannot be bound.
    """
    lifecycle = Lifecycle()
    if deployment.reloads:
        lifecycle.at_hangup(deployment.request_reload)
    app = _Startup(create_app(settings, deployment, lifecycle, siblings))
    server = GatewayServer(app, settings.server, lifecycle, give_up=deployment.aclose)
    serving = asyncio.create_task(_listen(server, app, settings, sockets), name="gateway")
    try:
        if await _is_ready(serving, server, deployment):
            freeze_heap()
            _untrack_generators()
            on_ready(server)
        await serving
    finally:
        server.should_exit = True
        await asyncio.gather(serving, return_exceptions=True)


def _untrack_generators() -> None:
    """Ends the event loop's list of open async generators, to which each request adds twenty.

    The loop closes those of its list when it ends. Here each is closed by who reads it, or else
    when it is collected, which the loop still sees.
    """
    sys.set_asyncgen_hooks(firstiter=None)


async def _is_ready(
    serving: asyncio.Task[None], server: GatewayServer, deployment: Deployment
) -> bool:
    """Waits until the server is ready; returns False if it ends, or must end, before that."""
    ready = asyncio.create_task(_ready(server, deployment), name="models")
    await asyncio.wait({serving, ready}, return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        ready.cancel()
        return False
    await ready
    return not server.should_exit


async def _ready(server: GatewayServer, deployment: Deployment) -> None:
    await deployment.start()
    await server.listening.wait()


async def _listen(
    server: GatewayServer,
    app: _Startup,
    settings: Settings,
    sockets: Sequence[socket.socket] | None,
) -> None:
    """Runs the server.

    If uvicorn cannot start, it only logs the reason and raises `SystemExit`: either the application
    failed to start, or the address cannot be bound, and the `OSError` is the exit's context.
    """
    try:
        await server.serve(None if sockets is None else list(sockets))
    except SystemExit as error:
        if app.failure is not None:
            raise app.failure from None
        if isinstance(error.__context__, OSError):
            address = settings.server.host, settings.server.port
            raise not_listening(*address, error.__context__) from error
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
