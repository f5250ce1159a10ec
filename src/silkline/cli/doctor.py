"""`silkline doctor`: what this machine has, what is missing, and the command that mends it."""

from __future__ import annotations

import json
import platform
import shutil
import socket
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click
import psutil
from rich.console import Console
from rich.table import Table

from silkline import __version__
from silkline.cli.settings_options import settings_from, settings_options
from silkline.config import Settings
from silkline.errors import EXIT, ConfigError
from silkline.models.resolve import BUNDLED_MODEL, resolve_model

GIB = 1024**3
_LEAST_MEMORY = 2 * GIB
_LEAST_DISK = 1 * GIB
_INSTRUCTION_SETS = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_vnni": "AVX-512 VNNI",
    "avx512_bf16": "AVX-512 BF16",
    "amx_int8": "AMX INT8",
    "amx_bf16": "AMX BF16",
    "asimd": "NEON",
}


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
@settings_options("server", "engine")
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
    yield from _engines(settings)
    yield _model(settings)
    yield _port(settings)


def _processor() -> Finding:
    flags = _processor_flags()
    sets = [name for flag, name in _INSTRUCTION_SETS.items() if flag in flags]
    cores = psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
    detail = f"{platform.machine()}, {cores} cores, {', '.join(sets) or 'no known vector sets'}"
    slow = platform.machine() == "x86_64" and "avx2" not in flags
    return Finding("processor", Verdict.NOTE if slow else Verdict.GOOD, detail)


def _processor_flags() -> set[str]:
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.is_file():
        return set()
    for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in {"flags", "Features"}:
            return set(value.split())
    return set()


def _memory() -> Finding:
    memory = psutil.virtual_memory()
    detail = f"{memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB available"
    enough = memory.available >= _LEAST_MEMORY
    return Finding("memory", Verdict.GOOD if enough else Verdict.NOTE, detail)


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free
    enough = free >= _LEAST_DISK
    return Finding("disk", Verdict.GOOD if enough else Verdict.NOTE, f"{free / GIB:.1f} GiB free")


def _accelerator() -> Finding:
    if shutil.which("nvidia-smi"):
        return Finding("accelerator", Verdict.GOOD, "NVIDIA driver installed")
    return Finding("accelerator", Verdict.GOOD, "none found; the CPU computes")


def _engines(settings: Settings) -> Iterator[Finding]:
    needed = settings.engine.engine in {"auto", "openvino"}
    for package in ("openvino", "openvino-genai", "openvino-tokenizers"):
        try:
            yield Finding(package, Verdict.GOOD, version(package))
        except PackageNotFoundError:
            yield Finding(
                package,
                Verdict.BAD if needed else Verdict.NOTE,
                "not installed",
                'pip install "silkline[openvino]"',
            )


def _model(settings: Settings) -> Finding:
    model = settings.engine.model
    try:
        manifest = resolve_model(model).manifest
    except ConfigError as error:
        remedy = "pip install --force-reinstall silkline" if model == BUNDLED_MODEL else None
        return Finding("model", Verdict.BAD, error.message, remedy)
    return Finding("model", Verdict.GOOD, f"{manifest.name}@{manifest.revision}, files whole")


def _port(settings: Settings) -> Finding:
    host, port = settings.server.host, settings.server.port
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            remedy = f"silkline up --port {port + 1}"
            return Finding("port", Verdict.BAD, f"{host}:{port}: {error.strerror}", remedy)
    return Finding("port", Verdict.GOOD, f"{host}:{port} is free")


def _print(findings: list[Finding]) -> None:
    colours = {Verdict.GOOD: "green", Verdict.NOTE: "yellow", Verdict.BAD: "red"}
    table = Table(show_header=False, box=None, pad_edge=False)
    for finding in findings:
        colour = colours[finding.verdict]
        table.add_row(f"[{colour}]{finding.verdict}[/]", finding.what, finding.detail)
        if finding.remedy:
            table.add_row("", "", f"run: {finding.remedy}")
    Console().print(table)
