"""The keys file while it is in use: read again when it changes, kept as it was when it breaks."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from silkline.errors import ConfigError
from silkline.gateway.keys import KeyRing

logger = logging.getLogger("silkline.gateway")

_LOOK_SECONDS = 2.0

_State = tuple[int, int, int]
"""Inode, size and time of change: what differs when a file was written or replaced."""


class KeysFile:
    """A keys file and the ring that was last read from it."""

    def __init__(self, path: Path) -> None:
        """Reads the file.

        Raises:
            ConfigError: As `KeyRing.load` does.
        """
        self._path = path
        self._state = _state(path)
        self.ring = KeyRing.load(path)

    @asynccontextmanager
    async def watched(self) -> AsyncGenerator[None, None]:
        """Reads the file again at SIGHUP and soon after each change, as long as the block runs."""
        loop = asyncio.get_running_loop()
        asked = asyncio.Event()
        takes_signals = threading.current_thread() is threading.main_thread()
        if takes_signals:
            loop.add_signal_handler(signal.SIGHUP, asked.set)
        watching = asyncio.create_task(self._watch(asked), name="keys file")
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            if takes_signals:
                loop.remove_signal_handler(signal.SIGHUP)

    async def _watch(self, asked: asyncio.Event) -> None:
        while True:
            try:
                async with asyncio.timeout(_LOOK_SECONDS):
                    await asked.wait()
            except TimeoutError:
                pass
            try:
                await self._look(asked)
            except Exception:  # no defect may end the watch: keys that were taken back would stay
                logger.exception("the keys file could not be looked at")
                await asyncio.sleep(_LOOK_SECONDS)  # a signal stays asked for

    async def _look(self, asked: asyncio.Event) -> None:
        # A slow disk must not hold up requests.
        state = await asyncio.to_thread(_state, self._path)
        if asked.is_set() or state != self._state:
            asked.clear()
            self._state = state
            await self._read()

    async def _read(self) -> None:
        try:
            self.ring = await asyncio.to_thread(KeyRing.load, self._path)
        except ConfigError as error:
            fields = {"error.message": error.message}
            logger.error("the keys file is broken; the old keys stay", extra={"ecs": fields})  # noqa: TRY400
        else:
            fields = {"silkline.tenants": str(len(self.ring.tenants))}
            logger.info("keys read", extra={"ecs": fields})


def _state(path: Path) -> _State | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
