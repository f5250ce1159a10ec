"""Runs the gateway: a uvicorn server with limited connections that drains before it exits."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import threading
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp

from silkline.config import ServerSettings
from silkline.errors import EnvironmentFault
from silkline.gateway.connection import Connection, Connections
from silkline.gateway.listener import drop_new_connections, limit_send_buffers, max_connections
from silkline.service.lifecycle import Lifecycle

logger = logging.getLogger("silkline.gateway")

_OLDEST_UVICORN, _NEWEST_UVICORN = (0, 40), (0, 54)
"""Tested releases; `pyproject.toml` has the same bounds."""

_LAST_ANSWERS_SECONDS = 5
"""Time for requests to send their final error once the drain timeout is over."""

_LAST_ACCEPTS_SECONDS = 0.1
"""Time to accept connections that the kernel has already completed, before listening ends."""


def check_uvicorn(version: str) -> None:
    """Refuses an untested uvicorn: `connection` depends on its private parts.

    Raises:
        EnvironmentFault: The version is outside the tested range.
    """
    major, minor = (int(part) for part in version.split(".")[:2])
    if not _OLDEST_UVICORN <= (major, minor) <= _NEWEST_UVICORN:
        oldest, newest = (".".join(map(str, end)) for end in (_OLDEST_UVICORN, _NEWEST_UVICORN))
        raise EnvironmentFault(
            f"uvicorn {version} is installed; Silkline needs one of {oldest} to {newest}.",
            remedy=f'pip install "uvicorn=={newest}.*"',
        )


class GatewayServer(uvicorn.Server):
    """A uvicorn server that drains on the first SIGTERM, SIGINT or SIGHUP, and ends on the second.

    With a settings file or a keys file, SIGHUP reads these again instead.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: ServerSettings,
        lifecycle: Lifecycle,
        give_up: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        """Configures the server; `serve` runs it.

        Args:
            app: The application.
            settings: Address, timeouts and limits of the server.
            lifecycle: Notified when the server leaves and drains.
            give_up: Ends all running requests, each with its own error; called when the drain
                timeout is over, or at the second signal.
        """
        check_uvicorn(uvicorn.__version__)
        self._connections = Connections(settings, lifecycle)
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                http=cast("type[Connection]", partial(Connection, shared=self._connections)),
                proxy_headers=False,  # no proxy is trusted to name clients
                ws="none",
                timeout_keep_alive=settings.keep_alive_timeout,
                timeout_graceful_shutdown=settings.drain_timeout + _LAST_ANSWERS_SECONDS,
            )
        )
        self._lifecycle = lifecycle
        self._settings = settings
        self._give_up = give_up
        self._giving_up: asyncio.Task[None] | None = None
        self._sweeping: asyncio.Task[None] | None = None
        self._hurried = asyncio.Event()
        self.listening = asyncio.Event()
        """Set when the server accepts connections; never set if it cannot bind."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Binds the address and sets `listening`."""
        self._connections.maximum = max_connections(self._settings.max_connections)
        await super().startup(sockets)
        if self.started:
            for server in self.servers:
                limit_send_buffers(server.sockets)
            sweep = self._connections.sweep(cast("set[Connection]", self.server_state.connections))
            self._sweeping = self._loop.create_task(sweep, name="connections")
            self.listening.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drains: stops accepting, waits for running requests, cancels late ones, and closes."""
        if self._lifecycle.leaving:  # by a signal: load balancers may not have noticed yet
            await self._lame_duck()
        self._lifecycle.begin_leaving()
        for server in self.servers:
            drop_new_connections(server.sockets)
        await asyncio.sleep(_LAST_ACCEPTS_SECONDS)
        deadline = self._loop.call_later(self._settings.drain_timeout, self._end_requests)
        await super().shutdown(sockets)
        deadline.cancel()
        if self._sweeping is not None:
            self._sweeping.cancel()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Handles the signals while the block runs.

        SIGHUP is left alone where it is ignored (nohup), unless it reads files again.
        """
        self._loop = asyncio.get_running_loop()
        with super().capture_signals():
            is_main = threading.current_thread() is threading.main_thread()
            before = signal.getsignal(signal.SIGHUP)
            handles_hangup = is_main and (self._lifecycle.rereads or before is signal.SIG_DFL)
            if handles_hangup:
                signal.signal(signal.SIGHUP, self._hang_up)
            try:
                yield
            finally:
                if handles_hangup:
                    signal.signal(signal.SIGHUP, before)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Starts draining; a second signal ends the requests that still run."""
        del frame
        if self.should_exit:
            self._loop.call_soon_threadsafe(self._hurry)
            return
        self.should_exit = True
        self._lifecycle.begin_leaving()
        self._loop.call_soon_threadsafe(self._close_after_responses)
        fields = {
            "process.signal": signal.Signals(sig).name,
            "silkline.open_requests": self._lifecycle.open_requests,
        }
        logger.info("draining", extra={"ecs": fields})

    def _hang_up(self, sig: int, frame: FrameType | None) -> None:
        if self._lifecycle.rereads:
            self._loop.call_soon_threadsafe(self._lifecycle.reread)
        else:
            self.handle_exit(sig, frame)

    async def _lame_duck(self) -> None:
        """Keeps serving for `lame_duck` seconds, not ready, so that load balancers move away."""
        try:
            async with asyncio.timeout(self._settings.lame_duck):
                await self._hurried.wait()
        except TimeoutError:
            pass

    def _close_after_responses(self) -> None:
        for connection in tuple(self.server_state.connections):
            if isinstance(connection, Connection):
                connection.close_after_response()

    def _hurry(self) -> None:
        self._hurried.set()
        self._end_requests()
        self._loop.call_later(_LAST_ANSWERS_SECONDS, self._force_exit)

    def _force_exit(self) -> None:
        self.force_exit = True

    def _end_requests(self) -> None:
        self._lifecycle.begin_draining()
        if self._giving_up is None:
            self._giving_up = self._loop.create_task(self._give_up())

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that the server listens on; valid once `listening` is set."""
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        return host, port
