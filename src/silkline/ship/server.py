"""The server on this machine that a bundle is shipped to: the settings file, and its process."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import psutil

from silkline.config import Settings
from silkline.config.toml import toml_of
from silkline.errors import ConfigError, EnvironmentFault
from silkline.service.served import own_environment
from silkline.ship.admin import root_of
from silkline.ship.plan import BUNDLES, SERVER
from silkline.stores.whole_file import replace_file

SETTINGS, LOG, _PID = "silkline.toml", "server.log", "pid"
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_OTHER_TABLES = frozenset({"models", "experiments"})
_POLL_SECONDS = 0.2
_START_SECONDS = 600.0
"""How long a model may take to load."""

_SHOWN_CHARACTERS = 1500


class LocalServer:
    """A server of a store, which is started when nothing answers at its address.

    It runs on after the command that started it.
    """

    def __init__(self, store: Path, url: str) -> None:
        """Takes the store's folder and the address."""
        self._folder = store / SERVER
        self._bundles = store / BUNDLES
        self.url = root_of(url)

    @property
    def settings_file(self) -> Path:
        """Its settings file."""
        return self._folder / SETTINGS

    def write_settings(self, settings: Settings) -> None:
        """Writes its settings file: a server that serves a model, and may load shipped bundles.

        Args:
            settings: The settings of the user; those of listening and administration are set here.

        Raises:
            ConfigError: The address is not one of this machine.
            EnvironmentFault: The file cannot be written.
        """
        parts = urlsplit(self.url)
        if parts.scheme != "http" or parts.hostname not in _LOOPBACK:
            raise ConfigError(
                f"Nothing answers at {self.url}, and only a server on this machine can be started. "
                "Start it there, or use --url http://127.0.0.1:8000."
            )
        self._folder.mkdir(parents=True, exist_ok=True)
        folder = self._folder.resolve()
        own = {
            "server": {"host": parts.hostname, "port": parts.port or 80},
            "admin": {
                "admin_without_keys": "off" if settings.auth.keys_file else "loopback",
                "allowed_models": [*settings.admin.allowed_models, str(self._bundles.resolve())],
                "admin_state": settings.admin.admin_state or str(folder / "models.json"),
            },
            "experimenting": {
                "experiment_file": settings.experimenting.experiment_file
                or str(folder / "experiments.sqlite")
            },
        }
        tables = {
            name: getattr(settings, name).model_dump(mode="json", exclude_defaults=True)
            | own.get(name, {})
            for name in Settings.model_fields
            if name not in _OTHER_TABLES
        }
        text = f"# Written by `silkline ship`; `silkline up --config` serves it.\n{toml_of(tables)}"
        try:
            replace_file(self.settings_file, text.encode())
        except OSError as error:
            raise EnvironmentFault(
                f"{self.settings_file} cannot be written: {error.strerror}. Choose another --store."
            ) from error

    @property
    def runs(self) -> bool:
        """Whether it was started here and its process lives."""
        return self._running() is not None

    async def answers(self) -> bool:
        """Whether a server answers at the address, ready or not."""
        return await self._status("/live") is not None

    async def start(self) -> None:
        """Starts it unless it runs, and waits until it is ready.

        Raises:
            EnvironmentFault: It does not start.
        """
        process = self._running()
        if process is None:
            if not self.settings_file.is_file():
                raise EnvironmentFault(
                    f"Nothing answers at {self.url} any more. Start that server again, then resume."
                )
            process = await asyncio.to_thread(self._spawn)
        deadline = time.monotonic() + _START_SECONDS
        while await self._status("/ready") != 200:  # noqa: PLR2004 - HTTP
            if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                raise EnvironmentFault(
                    f"The server of {self.settings_file} did not start: {self._told()}"
                )
            if time.monotonic() > deadline:
                raise EnvironmentFault(
                    f"The server of {self.settings_file} was not ready after {_START_SECONDS:g} s. "
                    f"Its log is {self._folder / LOG}."
                )
            await asyncio.sleep(_POLL_SECONDS)

    def _spawn(self) -> psutil.Process:
        command = (sys.executable, "-m", "silkline", "up", "--config", str(self.settings_file))
        with (self._folder / LOG).open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - this program
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=own_environment(os.environ),
                start_new_session=True,  # it runs on when this command ends
            )
        replace_file(self._folder / _PID, str(process.pid).encode())
        return psutil.Process(process.pid)

    def _running(self) -> psutil.Process | None:
        """The server's process, if it was started before and lives."""
        try:
            process = psutil.Process(int((self._folder / _PID).read_text()))
            is_ours = str(self.settings_file) in process.cmdline()
        except (OSError, ValueError, psutil.Error):
            return None
        return process if is_ours and process.status() != psutil.STATUS_ZOMBIE else None

    async def _status(self, path: str) -> int | None:
        timeout = aiohttp.ClientTimeout(total=10)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(self.url + path) as response,
            ):
                return response.status
        except (aiohttp.ClientError, TimeoutError):
            return None

    def _told(self) -> str:
        try:
            text = (self._folder / LOG).read_text("utf-8", "replace")
        except OSError:
            text = ""
        return text[-_SHOWN_CHARACTERS:].strip() or "no reason"
