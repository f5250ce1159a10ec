"""Runs the gateway: one uvicorn server that drains before it ends."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from silkline.config import ServerSettings
from silkline.gateway.lifecycle import Lifecycle

logger = logging.getLogger("silkline.gateway")


class GatewayServer(uvicorn.Server):
    """Ends gracefully on the first SIGTERM or SIGINT, at once on the second."""

    def __init__(self, app: ASGIApp, settings: ServerSettings, lifecycle: Lifecycle) -> None:
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
                timeout_keep_alive=int(settings.keep_alive_timeout),
                timeout_graceful_shutdown=int(settings.drain_timeout),
            )
        )
        self._lifecycle = lifecycle
        self.listening = asyncio.Event()
        """Set when the server accepts connections; never, if it cannot."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Binds, and tells those who wait for it."""
        await super().startup(sockets)
        if self.started:
            self.listening.set()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begins to drain; a second signal gives up on what still runs."""
        del frame
        if self.should_exit:
            self.force_exit = True
            return
        self._lifecycle.begin_draining()
        self.should_exit = True
        logger.info(
            "draining",
            extra={
                "ecs": {
                    "process.signal": signal.Signals(sig).name,
                    "silkline.open_requests": self._lifecycle.open_requests,
                }
            },
        )

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that the server listens on; known once it is `listening`."""
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        return host, port
