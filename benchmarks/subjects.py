"""What is measured side by side: the engine alone, the gateway, and the naive design.

Each subject is a process that runs cells (`closed_loop`) and the process whose cost is counted; for
the engine alone they are the same one.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.naive_environment import SERVER, naive_python
from benchmarks.processes import Driver, free_port, next_line, started, wait_for_port
from benchmarks.report import ENGINE, GATEWAY, NAIVE
from silkline.models.resolve import resolve_model


@dataclass(frozen=True, slots=True)
class Place:
    """Where things are.

    Attributes:
        cache: Folder for what is made once: pictures, the naive design's environment, logs.
        engine: Name of the engine.
        model: Name or folder of the model.
    """

    cache: Path
    engine: str
    model: str

    @property
    def pictures(self) -> Path:
        """Folder of the scenes."""
        return self.cache / "bench-pictures"

    def log(self, name: str) -> Path:
        """File for what a process says on its standard error."""
        return self.cache / "bench-logs" / f"{name.replace(' ', '-')}.log"


@dataclass(frozen=True, slots=True)
class Server:
    """A server that takes requests.

    Attributes:
        url: Where.
        pid: Its main process.
        seconds: From the start of its process until it was ready.
    """

    url: str
    pid: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Subject:
    """One of the things that are compared; `pid` is the process whose cost is counted."""

    name: str
    driver: Driver
    pid: int


@contextmanager
def gateway(place: Place, options: Sequence[str] = ("--cache-ttl", "0")) -> Iterator[Server]:
    """`silkline up` with its default settings but for the options, on a free port."""
    log = place.log(GATEWAY)
    command = [sys.executable, "-m", "silkline", "up", "--port", "0", "--json", *options]
    command += ["--engine", place.engine, "--model", place.model]
    began = time.perf_counter()
    with started(command, log) as process:
        ready: dict[str, Any] = msgspec.json.decode(next_line(process, log))
        yield Server(ready["url"], process.pid, time.perf_counter() - began)


@contextmanager
def naive(place: Place, options: Sequence[str] = ()) -> Iterator[Server]:
    """The naive design on the safetensors of the same bundle, with options of its server."""
    log = place.log(NAIVE)
    python = naive_python(place.cache / "bench-naive")
    weights = safetensors_folder(place.model)
    port = free_port()
    began = time.perf_counter()
    command = [str(python), str(SERVER), "--model", str(weights), "--port", str(port), *options]
    with started(command, log) as process:
        wait_for_port(process, port, log)
        yield Server(f"http://127.0.0.1:{port}", process.pid, time.perf_counter() - began)


SERVERS = {GATEWAY: gateway, NAIVE: naive}


@contextmanager
def subject(name: str, place: Place) -> Iterator[Subject]:
    """Starts a subject and what drives it."""
    if name == ENGINE:
        arguments = [place.engine, place.model]
        with _driver("benchmarks.engine_alone", place.log(name), *arguments, place.pictures) as own:
            yield Subject(name, own, own.pid)
        return
    with SERVERS[name](place) as server:
        log = place.log(f"{name} load")
        with _driver("benchmarks.load", log, server.url, place.pictures) as load:
            yield Subject(name, load, server.pid)


@contextmanager
def _driver(module: str, log: Path, *arguments: str | Path) -> Iterator[Driver]:
    with started([sys.executable, "-m", module, *arguments], log) as process:
        yield Driver(process, log)


def safetensors_folder(model: str) -> Path:
    """The folder of a bundle, or within a model's own one, in which transformers finds the model.

    Raises:
        FileNotFoundError: It has no safetensors.
    """
    folder = Path(model) if Path(model).is_dir() else resolve_model(model).folder
    for weights in sorted(folder.rglob("model.safetensors")):
        return weights.parent
    raise FileNotFoundError(f"{folder} has no model.safetensors; run with --without-naive")
