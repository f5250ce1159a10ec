"""Engines side by side: the same weights, the same images, one run.

A LLaVA layout of 230 million random parameters (`engines_model`), 32 new tokens, images that nobody
has seen before, 1, 4, 16 and 32 clients at once. All subjects are up at the same time and one is at
work; in each round each takes its turn, and who goes first changes. Ratios compare within a round.

    python -m benchmarks.engines [--rounds 3] [--vllm-python VENV/bin/python]
        [--llama-server PROGRAM --gguf FOLDER] [--staggered] [--quick]

Subjects: Silkline's engines `openvino` (the export of `silkline up`) and `torch`, each in a process
of its own and through `silkline up`; OpenVINO GenAI as it comes (INT8 by `optimum-cli export
openvino --weight-format int8`) and tuned (Silkline's export and arithmetic); transformers'
`generate` in static batches; vLLM's CPU build and llama.cpp's server where they are given.
With --staggered, requests arrive at random instead, and the most that each subject answers in time
is searched: the highest rate at which 95% of the answers come within --latency seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shlex
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.engines_report import (
    AIMS,
    STAGGERED_AIMS,
    TITLES,
    Cell,
    Measured,
    markdown,
    report,
)
from benchmarks.engines_servers import ask_server, llama_server, silkline_up
from benchmarks.options import ROOT
from benchmarks.processes import cpu_seconds, next_line, started
from benchmarks.report import today, write_report
from silkline.config import EngineSettings
from silkline.engines.openvino.export.environment import export_environment
from silkline.models.bundle import Bundle, load_bundle
from silkline.service.model import prepare_model

TOKENS = 32
CLIENTS = (1, 4, 16, 32)
_REQUESTS = 4
"""Fewest requests of a subject in a round at each number of clients."""

_OPTIMUM = (
    "import sys; sys.modules['openvino_telemetry'] = None; "
    "from optimum.commands.optimum_cli import main; main()"
)
"""`optimum-cli`, without the reports to its makers that leave processes behind where there is no
network."""

_ARRIVALS = 24
_STEP = 1.25
_QUANTILE = 0.95
_LOWEST = 16
"""The search ends at this part of its first rate."""

_THROUGH = "-up"
"""Ends the names of subjects behind `silkline up`."""

Run = Callable[[int, Sequence[float]], Measured]
"""Runs requests at these seconds, with images from a number on."""


class Subjects:
    """Starts subjects, one process or server each."""

    def __init__(self, stack: ExitStack, folders: dict[str, Path], cache: Path) -> None:
        self._stack, self._folders, self._cache = stack, folders, cache

    def start(self, name: str, python: str, llama: Path | None) -> Run:
        """Starts a subject, and asks once so that it is warm."""
        log = self._cache / f"{name}.log"
        run: Run
        if name == "llamacpp" and llama is not None:
            server = self._stack.enter_context(llama_server(llama, self._folders[name], log))
            run = partial(_served, server)
        elif name.endswith(_THROUGH):
            engine = name.removesuffix(_THROUGH)
            server = self._stack.enter_context(silkline_up(engine, self._folders[engine], log))
            run = partial(_served, server)
        else:
            run = self._process(name, python, log)
        run(0, [0.0] * max(CLIENTS))
        return run

    def _process(self, name: str, python: str, log: Path) -> Run:
        command: list[str | Path] = [
            python,
            "-m",
            "benchmarks.engines_subject",
            name,
            self._folders[name],
            str(TOKENS),
        ]
        threads = len(os.sched_getaffinity(0))
        variables = {
            "OMP_NUM_THREADS": str(threads),
            "HF_HUB_OFFLINE": "1",
            "PYTHONPATH": str(ROOT),
        }
        process = self._stack.enter_context(started(command, log, variables))
        next_line(process, log)
        return partial(_driven, process, log)


def _served(server: Any, first: int, arrivals: Sequence[float]) -> Measured:
    return _counted(server.pid, arrivals, lambda: ask_server(server, first, arrivals, TOKENS))


def _driven(
    process: subprocess.Popen[bytes], log: Path, first: int, arrivals: Sequence[float]
) -> Measured:
    def ask() -> dict[str, Any]:
        if process.stdin is None:
            raise SystemExit(f"{log.stem} has no standard input")
        process.stdin.write(json.dumps({"first": first, "arrivals": list(arrivals)}).encode())
        process.stdin.write(b"\n")
        process.stdin.flush()
        told: dict[str, Any] = json.loads(next_line(process, log))
        return told

    return _counted(process.pid, arrivals, ask)


def _counted(pid: int, arrivals: Sequence[float], ask: Callable[[], dict[str, Any]]) -> Measured:
    """Adds the processor time of a process and all its children."""
    before = sum(cpu_seconds(pid).values())
    told = ask()
    computed = sum(cpu_seconds(pid).values()) - before
    if short := [count for count in told["tokens"] if count != TOKENS]:
        print(f"{len(short)} of {len(arrivals)} answers are not of {TOKENS} tokens", flush=True)
    return Measured(**told, computed=computed)


@contextmanager
def subjects(
    names: Sequence[str], folders: dict[str, Path], cache: Path, options: argparse.Namespace
) -> Iterator[dict[str, Run]]:
    """All subjects, up and warm."""
    with ExitStack() as stack:
        starts = Subjects(stack, folders, cache / "logs")
        up = {}
        for name in names:
            print(f"starting {name}", flush=True)
            python = options.vllm_python if name == "vllm" else sys.executable
            up[name] = starts.start(name, python, options.llama_server)
        yield up


def prepare(cache: Path, names: Sequence[str], gguf: Path | None) -> dict[str, Path]:
    """The model and its exports, made where they are not there; a few minutes the first time."""
    model, plain, store = cache / "model", cache / "int8", cache / "store"
    if not (model / "config.json").is_file():
        _run([sys.executable, "-m", "benchmarks.engines_model", str(model)])
    if "genai" in names and not (plain / "openvino_detokenizer.xml").is_file():
        shutil.rmtree(plain, ignore_errors=True)
        _run([_exporting_python(), "-c", _OPTIMUM, "export", "openvino", "--model", str(model),
              "--task", "image-text-to-text", "--weight-format", "int8", str(plain)])  # fmt: skip
    folders = dict.fromkeys((*names, "torch"), model)
    folders["genai"] = plain
    if gguf is not None:
        folders["llamacpp"] = gguf
    if {"openvino", "openvino-up", "genai-tuned"} & set(names):
        bundle = exported(model, store, "int8")
        folders["openvino"], folders["genai-tuned"] = bundle.folder, bundle.weights("openvino")
    return folders


def _exporting_python() -> str:
    return str(export_environment("transformers-4.57", os.environ).python(print))


def exported(model: Path, store: Path, precision: str) -> Bundle:
    """The bundle that `silkline up` would serve of a model's safetensors."""
    wanted = EngineSettings(model=str(model), export_store=str(store), precision=precision)
    return load_bundle(prepare_model(wanted, "openvino", os.environ, print).folder)


def _run(command: list[str]) -> None:
    print(shlex.join(command), flush=True)
    subprocess.run(command, cwd=ROOT, check=True)


def measure_bursts(
    up: dict[str, Run], rounds: int, clients: Sequence[int] = CLIENTS
) -> dict[Cell, list[list[Measured]]]:
    """In each round each subject answers so many requests at once, several times where few."""
    measured: dict[Cell, list[list[Measured]]] = defaultdict(list)
    first = max(CLIENTS)
    for number in range(rounds):
        for many in clients:
            for name in _turns(up, number):
                bursts = []
                for _ in range(max(1, _REQUESTS // many)):
                    bursts.append(up[name](first, [0.0] * many))
                    first += many
                measured[Cell(name, many)].append(bursts)
                seconds = sum(burst.seconds for burst in bursts)
                rate = sum(len(burst.tokens) for burst in bursts) / seconds
                print(f"round {number}, {many} clients, {name}: {rate:.2f}/s", flush=True)
    return measured


def _turns(up: dict[str, Run], number: int) -> list[str]:
    names = list(up)
    turn = number % len(names)
    return [*names[turn:], *names[:turn]]


def measure_staggered(
    up: dict[str, Run], rounds: int, latency: float, start: float
) -> dict[Cell, list[list[Measured]]]:
    """The highest rate at which each subject's answers come in time, by steps of a quarter.

    Upwards from `start`; downwards where that is too much already.
    """
    measured: dict[Cell, list[list[Measured]]] = defaultdict(list)
    first = max(CLIENTS)
    for number in range(rounds):
        for name in _turns(up, number):
            rate = start
            held: Measured | None = None
            while rate > start / _LOWEST:
                cell = up[name](first, arrivals(rate, number))
                first += _ARRIVALS
                slow = _quantile(cell.latencies)
                print(f"{name} at {rate:.2f}/s: {slow:.2f} s", flush=True)
                if slow <= latency:
                    held = cell.at(rate)
                    if rate < start:  # came down to it
                        break
                    rate *= _STEP
                elif held:
                    break
                else:
                    rate /= _STEP
            if held is None:
                raise SystemExit(f"{name} answers nothing in time; give more seconds by --latency.")
            measured[Cell(name, 0)].append([held])
    return measured


def arrivals(rate: float, seed: int) -> list[float]:
    """When requests come: at random, so many a second."""
    chance = random.Random(seed)
    at = 0.0
    times = []
    for _ in range(_ARRIVALS):
        times.append(at)
        at += chance.expovariate(rate)
    return times


def _quantile(values: Sequence[float]) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(_QUANTILE * len(ordered)))]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="subjects by name, with commas")
    parser.add_argument("--vllm-python", default="", help="Python of an environment with vLLM")
    parser.add_argument("--llama-server", type=Path, help="the program llama-server")
    parser.add_argument("--gguf", type=Path, help="folder with model.gguf and mmproj.gguf")
    parser.add_argument("--staggered", action="store_true")
    parser.add_argument("--quick", action="store_true", help="one round of 1 and 4 clients")
    parser.add_argument("--latency", type=float, default=4.0, help="seconds, with --staggered")
    parser.add_argument("--from-rate", type=float, default=0.6, help="first rate tried")
    parser.add_argument("--cache", type=Path, default=ROOT / ".cache" / "engines")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    return parser.parse_args()


def main() -> None:
    """Command line."""
    arguments = _arguments()
    missing = {
        "vllm": "" if arguments.vllm_python else "no --vllm-python",
        "llamacpp": ""
        if arguments.llama_server and arguments.gguf
        else "no --llama-server, --gguf",
    }
    missing = {name: why for name, why in missing.items() if why}
    names = [name for name in TITLES if name not in missing]
    if arguments.only:
        names = [name for name in names if name in arguments.only.split(",")]
    folders = prepare(arguments.cache, names, arguments.gguf)
    with subjects(names, folders, arguments.cache, arguments) as up:
        if arguments.staggered:
            kind = f"the most that arrives at random and is answered in {arguments.latency:g} s"
            aims = STAGGERED_AIMS
            measured = measure_staggered(
                up, arguments.rounds, arguments.latency, arguments.from_rate
            )
        else:
            kind, aims = "so many clients at once", AIMS
            quick = (1, (1, 4)) if arguments.quick else (arguments.rounds, CLIENTS)
            measured = measure_bursts(up, *quick)
    made = report(measured, aims, kind, missing)
    results = arguments.cache / "quick" if arguments.quick else arguments.results
    suffix = "staggered" if arguments.staggered else "engines"
    write_report(made, markdown(made), results, "llava-230m", today(), suffix)
    print(markdown(made))


if __name__ == "__main__":
    main()
