"""Runs the gateway: one uvicorn server that drains before it ends."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from silkline.config import ServerSettings
from silkline.gateway.lifecycle import Lifecycle

logger = logging.getLogger("silkline.gateway")

_LAST_ANSWERS_SECONDS = 5
"""What requests get to tell their clients of the end, once draining is over."""


class GatewayServer(uvicorn.Server):
    """Ends gracefully on the first SIGTERM or SIGINT, at once on the second."""

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
            settings: Where it listens and how it ends.
            lifecycle: What is told that draining began.
            give_up: Ends all requests that still run, each with an error of its own; called when
                the time to drain is over, or at the second signal.
        """
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                http="httptools",
                proxy_headers=False,  # nobody in front is trusted to name clients
                ws="none",
                timeout_keep_alive=settings.keep_alive_timeout,
                timeout_graceful_shutdown=settings.drain_timeout + _LAST_ANSWERS_SECONDS,
            )
        )
        self._lifecycle = lifecycle
        self._drain_timeout = settings.drain_timeout
        self._give_up = give_up
        self._giving_up: asyncio.Task[None] | None = None
        self.listening = asyncio.Event()
        """Set when the server accepts connections; never, if it cannot."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Binds, and tells those who wait for it."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if self.started:
            self.listening.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Waits for what runs, ends what is late, and closes."""
        deadline = self._loop.call_later(self._drain_timeout, self._end_requests)
        await super().shutdown(sockets)
        deadline.cancel()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begins to drain; a second signal gives up on what still runs."""
        del frame
        if self.should_exit:
            self._loop.call_soon_threadsafe(self._hurry)
            return
        self._lifecycle.begin_draining()
        self.should_exit = True
        fields = {
            "process.signal": signal.Signals(sig).name,
            "silkline.open_requests": self._lifecycle.open_requests,
        }
        logger.info("draining", extra={"ecs": fields})

    def _hurry(self) -> None:
        self._end_requests()
        self._loop.call_later(_LAST_ANSWERS_SECONDS, self._stop_waiting)

    def _stop_waiting(self) -> None:
        self.force_exit = True

    def _end_requests(self) -> None:
        if self._giving_up is None:
            self._giving_up = self._loop.create_task(self._give_up())

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that the server listens on; known once it is `listening`."""
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        return host, port
