"""Runs the gateway: one uvicorn server with bounded connections, that drains before it ends."""

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
from silkline.gateway.listener import bound_buffers, max_connections, refuse_new
from silkline.service.lifecycle import Lifecycle

logger = logging.getLogger("silkline.gateway")

_OLDEST_UVICORN, _NEWEST_UVICORN = (0, 40), (0, 54)
"""Releases that the tests ran with; `pyproject.toml` has the same bounds."""

_LAST_ANSWERS_SECONDS = 5
"""What requests get to tell their clients of the end, once draining is over."""

_LAST_ACCEPTS_SECONDS = 0.1
"""What connections that are there already get to be taken, before listening ends."""


def check_uvicorn(version: str) -> None:
    """Refuses a uvicorn that was not tested: `connection` changes private parts of it.

    Raises:
        EnvironmentFault: The version lies outside of the tested ones.
    """
    major, minor = (int(part) for part in version.split(".")[:2])
    if not _OLDEST_UVICORN <= (major, minor) <= _NEWEST_UVICORN:
        oldest, newest = (".".join(map(str, end)) for end in (_OLDEST_UVICORN, _NEWEST_UVICORN))
        raise EnvironmentFault(
            f"uvicorn {version} is installed; Silkline is tested with {oldest} to {newest}.",
            remedy=f'pip install "uvicorn=={newest}.*"',
        )


class GatewayServer(uvicorn.Server):
    """Ends gracefully on the first SIGTERM, SIGINT or SIGHUP, at once on the second.

    A keys file takes SIGHUP for itself.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: ServerSettings,
        lifecycle: Lifecycle,
        give_up: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        """Describes the server; `serve` runs it.

        Args:
            app: The application.
            settings: Where it listens, how long it waits for clients and how it ends.
            lifecycle: What is told how far the end has come.
            give_up: Ends all requests that still run, each with an error of its own; called when
                the time to drain is over, or at the second signal.
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
                proxy_headers=False,  # nobody in front is trusted to name clients
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
        """Set when the server accepts connections; never, if it cannot."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Binds, and tells those who wait for it."""
        self._connections.maximum = max_connections(self._settings.max_connections)
        await super().startup(sockets)
        if self.started:
            for server in self.servers:
                bound_buffers(server.sockets)
            sweep = self._connections.sweep(cast("set[Connection]", self.server_state.connections))
            self._sweeping = self._loop.create_task(sweep, name="connections")
            self.listening.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Lets itself be left, waits for what runs, ends what is late, and closes."""
        if self._lifecycle.leaving:  # by a signal: others may not know of it yet
            await self._lame_duck()
        self._lifecycle.begin_leaving()
        for server in self.servers:
            refuse_new(server.sockets)
        await asyncio.sleep(_LAST_ACCEPTS_SECONDS)
        deadline = self._loop.call_later(self._settings.drain_timeout, self._end_requests)
        await super().shutdown(sockets)
        deadline.cancel()
        if self._sweeping is not None:
            self._sweeping.cancel()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Takes the signals as long as the block runs; SIGHUP unless it is ignored (nohup)."""
        self._loop = asyncio.get_running_loop()
        with super().capture_signals():
            here = threading.current_thread() is threading.main_thread()
            takes = here and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
            if takes:
                signal.signal(signal.SIGHUP, self.handle_exit)
            try:
                yield
            finally:
                if takes:
                    signal.signal(signal.SIGHUP, signal.SIG_DFL)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begins to leave; a second signal gives up on what still runs."""
        del frame
        if self.should_exit:
            self._loop.call_soon_threadsafe(self._hurry)
            return
        self.should_exit = True
        self._lifecycle.begin_leaving()
        self._loop.call_soon_threadsafe(self._last_answers)
        fields = {
            "process.signal": signal.Signals(sig).name,
            "silkline.open_requests": self._lifecycle.open_requests,
        }
        logger.info("draining", extra={"ecs": fields})

    async def _lame_duck(self) -> None:
        """Serves on, so that those who send requests here learn of the end; a signal ends it."""
        try:
            async with asyncio.timeout(self._settings.lame_duck):
                await self._hurried.wait()
        except TimeoutError:
            pass

    def _last_answers(self) -> None:
        for connection in tuple(self.server_state.connections):
            if isinstance(connection, Connection):
                connection.last_answer()

    def _hurry(self) -> None:
        self._hurried.set()
        self._end_requests()
        self._loop.call_later(_LAST_ANSWERS_SECONDS, self._stop_waiting)

    def _stop_waiting(self) -> None:
        self.force_exit = True

    def _end_requests(self) -> None:
        self._lifecycle.begin_draining()
        if self._giving_up is None:
            self._giving_up = self._loop.create_task(self._give_up())

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that the server listens on; known once it is `listening`."""
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        return host, port
