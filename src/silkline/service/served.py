"""Serves a subject as clients would meet it, to load it: `silkline up` in a process of its own."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import tempfile
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psutil

from silkline.bench.spec import Target
from silkline.config import VARIABLE_PREFIX, Settings
from silkline.config.toml import toml_of
from silkline.engines.remote.key import read_key
from silkline.errors import EnvironmentFault
from silkline.service.subject import SubjectSpec

_SECTIONS = ("limits", "fetch", "decode", "engine")
"""The settings that a subject has."""

_UNCACHED = {"cache-control": "no-store"}

_STOP_SECONDS = 20.0
_MAX_WORDS = 2000
_PEAK = re.compile(r"^VmHWM:\s*(\d+) kB$", re.MULTILINE)
_WORKER = "silkline.engines.worker"


class _Ready(msgspec.Struct):
    url: str


@dataclass(frozen=True, slots=True)
class Served:
    """A subject that can be loaded.

    Attributes:
        target: Where it is.
        process: The gateway's process; None for a server that was there already.
    """

    target: Target
    process: int | None

    def peak_bytes(self) -> int | None:
        """The most memory that the engine's processes had so far; None where it is unknown."""
        return None if self.process is None else peak_bytes(self.process)


def peak_bytes(process: int) -> int | None:
    """The most memory that the workers below a process had so far; None where it is unknown."""
    try:
        found = [
            _peak(child.pid)
            for child in psutil.Process(process).children(recursive=True)
            if _WORKER in " ".join(child.cmdline())
        ]
    except psutil.Error:  # it died, which its requests show
        return None
    return sum(found) if found and all(found) else None


@asynccontextmanager
async def served(spec: SubjectSpec, name: str) -> AsyncGenerator[Served, None]:
    """Serves a subject while the block runs; a URL is taken as it is. No answer is cached.

    Args:
        spec: The subject.
        name: Its name in the load test.

    Raises:
        EnvironmentFault: It does not start.
    """
    remotes = spec.settings.engine.remotes
    if remotes:
        key = read_key(remotes[0], os.environ)
        headers = {"authorization": f"Bearer {key}"} if key else {}
        target = Target(name, remotes[0].url, _UNCACHED | headers, remotes[0].model)
        yield Served(target, None)
        return
    with tempfile.TemporaryDirectory(prefix="silkline-gate-") as folder:
        config = Path(folder) / "silkline.toml"
        config.write_text(_toml(spec.settings), encoding="utf-8")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "silkline", "up", "--config", str(config), "--json"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=own_environment(os.environ),
        )
        errors = asyncio.create_task(_read(process))
        try:
            line = await process.stdout.readline() if process.stdout else b""
            if not line:
                raise EnvironmentFault(
                    f"{spec.name} cannot be served to be loaded: {await errors or 'no reason'}"
                )
            ready = msgspec.json.decode(line, type=_Ready)
            yield Served(Target(name, ready.url, _UNCACHED), process.pid)
        finally:
            await _stop(process)
            await errors


async def _read(process: asyncio.subprocess.Process) -> str:
    """The last that a process wrote to standard error, until its end."""
    last = b""
    while process.stderr is not None and (chunk := await process.stderr.read(65536)):
        last = (last + chunk)[-_MAX_WORDS:]
    return last.decode("utf-8", "replace").strip()


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _peak(process: int) -> int:
    """The most resident memory that a process had, in bytes; 0 where the system does not say."""
    try:
        match = _PEAK.search(Path(f"/proc/{process}/status").read_text())
    except OSError:
        return 0
    return int(match[1]) * 1024 if match else 0


def own_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables for a server whose settings are all in its file."""
    return {
        name: value for name, value in environment.items() if not name.startswith(VARIABLE_PREFIX)
    }


def _toml(settings: Settings) -> str:
    """The settings file that serves a subject on a free port."""
    tables: dict[str, dict[str, object]] = {
        name: getattr(settings, name).model_dump(mode="json", exclude_defaults=True)
        for name in _SECTIONS
    }
    tables["server"] = {"host": "127.0.0.1", "port": 0}
    tables["log"] = {"log_level": "warning"}
    return toml_of(tables)
