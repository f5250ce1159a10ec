"""A real Redis server on a free loopback port, to be killed and frozen by tests."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis as redis_library

from silkline.cache.redis import RedisTier

INSTALL = "apt-get update && apt-get install -y redis-server"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def connected(url: str) -> AsyncGenerator[RedisTier, None]:
    """A tier over the server at a URL."""
    tier = RedisTier(url)
    try:
        yield tier
    finally:
        await tier.aclose()


class RedisServer:
    """A server of its own; it keeps its port when it is started again."""

    def __init__(self, folder: Path, *options: str) -> None:
        """Starts one; options come before those that it is always given."""
        self.port = free_port()
        self._folder = folder
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.admin = redis_library.Redis(port=self.port)
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        program = shutil.which("redis-server")
        if program is None:
            pytest.fail(f"No redis-server on PATH. Run: {INSTALL}")
        self._process = subprocess.Popen(
            [
                program, *self._options, "--port", str(self.port), "--bind", "127.0.0.1",
                "--save", "", "--appendonly", "no", "--dir", str(self._folder),
            ],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        self.wait()

    def wait(self, seconds: float = 10.0) -> None:
        limit = time.monotonic() + seconds
        while True:
            try:
                self.admin.ping()
            except redis_library.RedisError:
                assert time.monotonic() < limit, "redis-server did not start"
                time.sleep(0.01)
            else:
                return

    def send(self, sent: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(sent)

    def kill(self) -> None:
        """As a crash would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(timeout=10)

    def freeze(self) -> None:
        self.send(signal.SIGSTOP)

    def thaw(self) -> None:
        self.send(signal.SIGCONT)

    def configure(self, **settings: str) -> None:
        for name, value in settings.items():
            self.admin.config_set(name.replace("_", "-"), value)

    def close(self) -> None:
        self.admin.close()
        self.kill()
