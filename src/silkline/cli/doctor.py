"""`silkline doctor`: what this machine has, what is missing, and the command that mends it."""

from __future__ import annotations

import asyncio
import errno
import importlib.metadata
import json
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from http.client import HTTPConnection, HTTPException
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import psutil
from rich.table import Table
from rich.text import Text

from silkline import __version__
from silkline.cli.printing import print_result
from silkline.cli.settings_options import settings_options
from silkline.config import Settings, settings_from
from silkline.engines.accelerators import has_nvidia
from silkline.engines.processor import features, instruction_set
from silkline.engines.registry import (
    check_engine,
    engine_names,
    engine_spec,
    is_installed,
    pick_engine,
)
from silkline.engines.threads import usable_cores
from silkline.errors import EXIT, ConfigError, EnvironmentFault
from silkline.gateway.address import check_listening, listening_fault, shown, url_of
from silkline.gateway.auth import read_keys
from silkline.ingress.decode import DecoderPool
from silkline.models.printable import printable
from silkline.models.resolve import BUNDLED_MODEL, ModelLocation, locate_model, resolve_model
from silkline.service.pool import needs_model

GIB = 1024**3
_MIN_MEMORY = 2 * GIB
_MIN_DISK = 1 * GIB
_MAX_CHARACTERS = 2000
"""Of a finding; errors may quote a model's files."""

_LIVE = b'{"status":"live"}'
"""What a gateway answers at /live."""

_LIVE_BYTES, _LIVE_SECONDS = 100, 2.0
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)[^;]*>=([0-9.]+)[^;]*; extra == .([a-z0-9]+).")
_RELEASE = re.compile(r"\d+(?:\.\d+)*")
_MACHINES = {"x86_64", "aarch64"}
"""Those that every library of the engine openvino is published for."""


class Verdict(StrEnum):
    """How a check came out."""

    GOOD = "good"
    NOTE = "note"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: Its name.
        verdict: `bad` stops `silkline up` with the present settings; `note` does not.
        detail: What was found.
        remedy: The command that mends it, where there is one.
    """

    what: str
    verdict: Verdict
    detail: str
    remedy: str | None = None


@click.command()
@settings_options("server", "auth", "decode", "engine")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(config: Path | None, as_json: bool, **flags: Any) -> None:
    """Look at this machine: hardware, versions, model files, ports; say what is missing.

    Ends with 4 where something would keep `silkline up` from serving, else with 0.
    """
    findings = list(examine(settings_from(config, flags)))
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        _print(findings)
    if any(finding.verdict is Verdict.BAD for finding in findings):
        sys.exit(EXIT.environment)


def examine(settings: Settings) -> Iterator[Finding]:
    """Looks at everything that serving with these settings needs."""
    yield Finding("silkline", Verdict.GOOD, f"{__version__} on Python {platform.python_version()}")
    yield _processor()
    yield _memory()
    yield _disk()
    yield _accelerator()
    yield _engine(settings)
    yield from _libraries(settings)
    yield _model(settings)
    yield _decoder(settings)
    yield _documents()
    yield _keys(settings)
    yield _port(settings)


def _processor() -> Finding:
    machine = platform.machine()
    cores = psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
    usable = usable_cores()
    limit = f" ({usable} usable)" if usable < (psutil.cpu_count() or 1) else ""
    detail = f"{machine}, {cores} cores{limit}; engines compute with {instruction_set()}"
    best = instruction_set({})
    if instruction_set() != best:
        detail += f" (ONEDNN_MAX_CPU_ISA allows no more; the processor has {best})"
    if machine == "aarch64":
        detail += "; Silkline was never run on arm64 by its authors, see docs/processors.md"
    found = features()
    slow = machine not in _MACHINES or ("sse4_1" in found and "avx2" not in found)
    return Finding("processor", Verdict.NOTE if slow else Verdict.GOOD, detail)


def _memory() -> Finding:
    memory = psutil.virtual_memory()
    detail = f"{memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB available"
    enough = memory.available >= _MIN_MEMORY
    return Finding("memory", Verdict.GOOD if enough else Verdict.NOTE, detail)


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free
    enough = free >= _MIN_DISK
    return Finding("disk", Verdict.GOOD if enough else Verdict.NOTE, f"{free / GIB:.1f} GiB free")


def _accelerator() -> Finding:
    if has_nvidia():
        return Finding("accelerator", Verdict.GOOD, "NVIDIA driver installed")
    return Finding("accelerator", Verdict.GOOD, "none found; the CPU computes")


def _engine(settings: Settings) -> Finding:
    known, wanted = engine_names(), settings.engine.engine
    if wanted not in {"auto", *known}:
        detail = f"there is no engine {wanted}; installed are: {', '.join(known)}"
        return Finding("engine", Verdict.BAD, detail)
    try:
        spec = None if wanted == "auto" else engine_spec(wanted)
    except EnvironmentFault as error:
        return Finding("engine", Verdict.BAD, error.message, error.remedy)
    missing = [] if spec is None else [name for name in spec.libraries if not is_installed(name)]
    if spec is not None and missing:
        detail = f"{wanted} needs {', '.join(missing)}, which cannot be found"
        return Finding("engine", Verdict.BAD, detail, spec.install or None)
    return Finding("engine", Verdict.GOOD, wanted)


def _libraries(settings: Settings) -> Iterator[Finding]:
    """Versions of what the engine's extra requires: installed, complete, and new enough."""
    name = settings.engine.engine
    extra = "openvino" if name == "auto" else name
    remedy = f'pip install "silkline[{extra}]"'
    for line in importlib.metadata.requires("silkline") or []:
        wanted = _REQUIREMENT.fullmatch(line)
        if wanted is None or wanted[3] != extra:
            continue
        package, minimum = wanted[1], wanted[2]
        try:
            installed = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            yield Finding(package, Verdict.BAD, "not installed", remedy)
            continue
        if find_spec(package.replace("-", "_")) is None:
            yield Finding(package, Verdict.BAD, f"{installed}, but its files are missing", remedy)
        elif _release(installed) < _release(minimum):
            detail = f"{installed}; {minimum} or newer is needed"
            yield Finding(package, Verdict.BAD, detail, remedy)
        else:
            yield Finding(package, Verdict.GOOD, installed)


def _release(version: str) -> tuple[int, ...]:
    found = _RELEASE.match(version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def _model(settings: Settings) -> Finding:
    model = settings.engine.model
    try:
        if not needs_model(settings.engine.engine):
            return Finding("model", Verdict.GOOD, f"{settings.engine.engine} needs none")
        place = locate_model(model, os.environ)
        if place.bundle is None:
            return _folder(settings.engine.engine, place)
        manifest = resolve_model(model).manifest
    except (ConfigError, EnvironmentFault) as error:
        remedy = "pip install --force-reinstall silkline" if model == BUNDLED_MODEL else None
        return Finding("model", Verdict.BAD, error.message, remedy)
    return Finding("model", Verdict.GOOD, f"{manifest.name}@{manifest.revision}, files whole")


def _folder(engine: str, place: ModelLocation) -> Finding:
    """Whether the engine that is named can serve a model, or which one `auto` takes."""
    if engine == "auto":
        engine = pick_engine(place).engine
    check_engine(place, engine)
    detail = f"{place.model}: {engine} can serve it; `silkline inspect` tells more"
    return Finding("model", Verdict.GOOD, detail)


def _decoder(settings: Settings) -> Finding:
    """Starts a decoding child as the server would."""
    try:
        asyncio.run(_start_decoder(settings))
    except EnvironmentFault as error:
        return Finding("picture decoder", Verdict.BAD, error.message)
    return Finding("picture decoder", Verdict.GOOD, "starts")


async def _start_decoder(settings: Settings) -> None:
    async with DecoderPool(settings.decode.model_copy(update={"decode_processes": 1})):
        pass


def _documents() -> Finding:
    if is_installed("pypdfium2"):
        return Finding("documents", Verdict.GOOD, "PDF files are accepted")
    detail = "PDF files are refused: pypdfium2 is not installed"
    return Finding("documents", Verdict.NOTE, detail, 'pip install "silkline[pdf]"')


def _keys(settings: Settings) -> Finding:
    try:
        keys = read_keys(settings)
    except ConfigError as error:
        return Finding("keys", Verdict.BAD, error.message)
    if keys is None:
        return Finding("keys", Verdict.GOOD, "none; whoever reaches the server may ask")
    ring = keys.ring
    return Finding("keys", Verdict.GOOD, f"tenants: {len(ring.tenants)}, keys: {len(ring)}")


def _port(settings: Settings) -> Finding:
    host, port = settings.server.host, settings.server.port
    try:
        check_listening(host, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE and _is_live(url_of(host, port)):
            return Finding("port", Verdict.NOTE, f"a Silkline runs on {shown(host, port)}")
        return Finding("port", Verdict.BAD, *listening_fault(host, port, error))
    return Finding("port", Verdict.GOOD, f"{shown(host, port)} is free")


def _is_live(url: str) -> bool:
    """Whether a Silkline answers at a URL of this machine."""
    place = urlsplit(url)
    link = HTTPConnection(place.hostname or "", place.port, timeout=_LIVE_SECONDS)
    try:
        link.request("GET", "/live")
        return link.getresponse().read(_LIVE_BYTES) == _LIVE
    except (OSError, HTTPException):
        return False
    finally:
        link.close()


def _print(findings: list[Finding]) -> None:
    """A table of what was found, as it was found: nothing in it is markup."""
    colours = {Verdict.GOOD: "green", Verdict.NOTE: "yellow", Verdict.BAD: "red"}
    table = Table(show_header=False, box=None, pad_edge=False)
    for finding in findings:
        verdict = Text(finding.verdict, style=colours[finding.verdict])
        detail = Text(printable(finding.detail, _MAX_CHARACTERS))
        table.add_row(verdict, Text(finding.what), detail)
        if finding.remedy:
            table.add_row("", "", Text(f"run: {finding.remedy}"))
    print_result(table)
