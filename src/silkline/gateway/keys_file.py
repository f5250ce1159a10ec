"""Reloads the keys file when it changes; keeps the old keys if the new file is invalid."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from silkline.aio.background import in_background
from silkline.errors import ConfigError
from silkline.gateway.keys import KeyRing

logger = logging.getLogger("silkline.gateway")

_CHECK_SECONDS = 2.0

_State = tuple[int, int, int]
"""Inode, size and modification time: they change when a file is written or replaced."""


class KeysFile:
    """A keys file, and the key ring last read from it."""

    def __init__(self, path: Path) -> None:
        """Reads the file.

        Raises:
            ConfigError: As `KeyRing.load` does.
        """
        self._path = path
        self._state = _state(path)
        self.ring = KeyRing.load(path)
        self._reload_requested = asyncio.Event()

    def request_reload(self) -> None:
        """Has the file read again at once, while it is watched; call it in the event loop."""
        self._reload_requested.set()

    @asynccontextmanager
    async def watched(self) -> AsyncGenerator[None, None]:
        """Reloads the file on request and soon after each change, while the block runs."""
        async with in_background(self._check_periodically(), "keys file"):
            yield

    async def _check_periodically(self) -> None:
        while True:
            try:
                async with asyncio.timeout(_CHECK_SECONDS):
                    await self._reload_requested.wait()
            except TimeoutError:
                pass
            try:
                await self._check()
            except Exception:  # a defect must not end the task: revoked keys would stay valid
                logger.exception("the keys file could not be checked")
                await asyncio.sleep(_CHECK_SECONDS)  # a requested reload stays requested

    async def _check(self) -> None:
        # A slow disk must not hold up requests.
        state = await asyncio.to_thread(_state, self._path)
        if self._reload_requested.is_set() or state != self._state:
            self._reload_requested.clear()
            self._state = state
            await self._read()

    async def _read(self) -> None:
        try:
            self.ring = await asyncio.to_thread(KeyRing.load, self._path)
        except ConfigError as error:
            fields = {"error.message": error.message}
            logger.error("the keys file is invalid; the old keys stay", extra={"ecs": fields})  # noqa: TRY400
        else:
            fields = {"silkline.tenants": str(len(self.ring.tenants))}
            logger.info("keys file reloaded", extra={"ecs": fields})


def _state(path: Path) -> _State | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
