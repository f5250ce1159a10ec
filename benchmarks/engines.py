"""Engines side by side: the same weights, the same pictures, one run.

A LLaVA layout of 230 million random parameters (`engines_model`), 16 requests at a time with a
picture each that nobody has seen before, 32 new tokens. All subjects are up at the same time and
one is at work; in each round each takes its turn, and who goes first changes. Ratios compare within
a round; medians over the rounds stand in the report with their least and most.

    python -m benchmarks.engines [--rounds 5] [--vllm-python VENV/bin/python] [--staggered]

Subjects: Silkline's engines `openvino` (the export of `silkline up`) and `torch`, OpenVINO GenAI as
it comes (INT8 by `optimum-cli export openvino --weight-format int8`), transformers' `generate` in
static batches, and vLLM's CPU build where the Python of an environment with it is given.
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
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.engines_subject import BATCH
from benchmarks.machine import machine, versions
from benchmarks.report import command_line, today, write_report

ROOT = Path(__file__).parents[1]
TOKENS = 32
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


TITLES = {
    "openvino": "Silkline, engine openvino",
    "torch": "Silkline, engine torch",
    "genai": "OpenVINO GenAI as it comes, INT8",
    "transformers": "transformers `generate`, static batches, float32",
    "vllm": "vLLM's CPU build, bfloat16",
}
AIMS = {
    ("openvino", "genai"): 1.35,
    ("openvino", "vllm"): 4.0,
    ("openvino", "transformers"): 2.5,
    ("torch", "transformers"): 1.2,
}
STAGGERED_AIMS = {("torch", "transformers"): 2.0}


class Spread(msgspec.Struct, frozen=True):
    """Of several rounds."""

    median: float
    least: float
    most: float


class Found(msgspec.Struct, frozen=True):
    """What a subject did.

    Attributes:
        subject: Its name.
        rate: Requests a second.
        rounds: The rate of each round.
        latency: Median seconds of a request, over the rounds.
        computed: Seconds of a core that its process took for a request; those of vLLM's own
            processes are not seen.
    """

    subject: str
    rate: Spread
    rounds: list[float]
    latency: float
    computed: float


class Ratio(msgspec.Struct, frozen=True):
    """One subject's rate divided by another's, round by round."""

    one: str
    other: str
    aim: float
    ratio: Spread


class Report(msgspec.Struct, frozen=True):
    """The whole run."""

    command: str
    machine: dict[str, str]
    versions: dict[str, str]
    kind: str
    found: list[Found]
    ratios: list[Ratio]


class Subject:
    """A process that answers cells."""

    def __init__(self, name: str, python: str, folder: Path, threads: int) -> None:
        command = [python, "-m", "benchmarks.engines_subject", name, str(folder), str(TOKENS)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
        self.name = name
        self._log = Path(f"{folder}-{name}.log").open("wb")  # noqa: SIM115 - closed by `close`
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        self._read()

    def run(self, first: int, arrivals: Sequence[float]) -> dict[str, Any]:
        """Runs a cell: requests at these seconds, with pictures from a number on."""
        cell = {"first": first, "many": len(arrivals), "arrivals": list(arrivals)}
        stdin = self._process.stdin
        if stdin is None:
            raise SystemExit(f"{self.name} has no standard input")
        stdin.write(json.dumps(cell).encode() + b"\n")
        stdin.flush()
        measured = self._read()
        if short := [count for count in measured["tokens"] if count != TOKENS]:
            print(f"{self.name}: {len(short)} answers of other than {TOKENS} tokens", flush=True)
        return measured

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()
        self._log.close()

    def _read(self) -> dict[str, Any]:
        stdout = self._process.stdout
        line = stdout.readline() if stdout is not None else b""
        if not line:
            raise SystemExit(f"{self.name} has ended; its log is {self._log.name}")
        said: dict[str, Any] = json.loads(line)
        return said


@contextmanager
def subjects(names: Sequence[str], folders: dict[str, Path], vllm: str) -> Iterator[list[Subject]]:
    """All subjects, up and warm."""
    threads = len(os.sched_getaffinity(0))
    with ExitStack() as stack:
        up = []
        for name in names:
            print(f"starting {name}", flush=True)
            python = vllm if name == "vllm" else sys.executable
            subject = Subject(name, python, folders[name], threads)
            stack.callback(subject.close)
            subject.run(0, [0.0] * BATCH)
            up.append(subject)
        yield up


def prepare(cache: Path, names: Sequence[str]) -> dict[str, Path]:
    """The model and its exports, made where they are not there; a few minutes the first time."""
    model, plain, store = cache / "model", cache / "int8", cache / "store"
    if not (model / "config.json").is_file():
        _run([sys.executable, "-m", "benchmarks.engines_model", str(model)])
    if "genai" in names and not (plain / "openvino_detokenizer.xml").is_file():
        shutil.rmtree(plain, ignore_errors=True)
        _run([_exporting_python(), "-c", _OPTIMUM, "export", "openvino", "--model", str(model),
              "--task", "image-text-to-text", "--weight-format", "int8", str(plain)])  # fmt: skip
    folders = dict.fromkeys(names, model)
    folders["genai"] = plain
    if "openvino" in names:
        folders["openvino"] = _exported(model, store)
    return folders


def _exporting_python() -> str:
    from silkline.engines.openvino.export.environment import export_environment  # noqa: PLC0415

    return str(export_environment("transformers-4.57", os.environ).python(print))


def _exported(model: Path, store: Path) -> Path:
    """The bundle that `silkline up` would serve."""
    from silkline.config import EngineSettings  # noqa: PLC0415
    from silkline.service.model import prepare_model  # noqa: PLC0415 - only where it is a subject

    wanted = EngineSettings(model=str(model), export_store=str(store))
    return prepare_model(wanted, "openvino", os.environ, print).folder


def _run(command: list[str]) -> None:
    print(shlex.join(command), flush=True)
    subprocess.run(command, cwd=ROOT, check=True)


def measure_bursts(up: Sequence[Subject], rounds: int) -> dict[str, list[dict[str, Any]]]:
    """Each subject answers 16 requests at once in each round."""
    measured: dict[str, list[dict[str, Any]]] = defaultdict(list)
    first = BATCH
    for number in range(rounds):
        turn = number % len(up)
        for subject in (*up[turn:], *up[:turn]):
            cell = subject.run(first, [0.0] * BATCH)
            first += BATCH
            measured[subject.name].append(cell)
            print(f"round {number}, {subject.name}: {_rate(cell):.2f}/s", flush=True)
    return measured


def measure_staggered(
    up: Sequence[Subject], rounds: int, latency: float, start: float
) -> dict[str, list[dict[str, Any]]]:
    """The highest rate at which each subject's answers come in time, by steps of a quarter.

    Upwards from `start`; downwards where that is too much already.
    """
    measured: dict[str, list[dict[str, Any]]] = defaultdict(list)
    first = BATCH
    for number in range(rounds):
        turn = number % len(up)
        for subject in (*up[turn:], *up[:turn]):
            rate = start
            held: dict[str, Any] | None = None
            while rate > start / _LOWEST:
                cell = subject.run(first, arrivals(rate, number))
                first += _ARRIVALS
                slow = _quantile(cell["latencies"])
                print(f"{subject.name} at {rate:.2f}/s: {slow:.2f} s", flush=True)
                if slow <= latency:
                    held = {**cell, "rate": rate}
                    if rate < start:  # came down to it
                        break
                    rate *= _STEP
                elif held:
                    break
                else:
                    rate /= _STEP
            if held is None:
                raise SystemExit(
                    f"{subject.name} answers nothing in time; give more seconds by --latency."
                )
            measured[subject.name].append(held)
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


def _rate(cell: dict[str, Any]) -> float:
    return float(cell.get("rate", len(cell["tokens"]) / cell["seconds"]))


def _computed(cell: dict[str, Any]) -> float:
    return float(cell["computed"] / len(cell["tokens"]))


def _quantile(values: Sequence[float]) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(_QUANTILE * len(ordered)))]


def _spread(values: Sequence[float]) -> Spread:
    return Spread(round(statistics.median(values), 3), round(min(values), 3), round(max(values), 3))


def report(
    measured: dict[str, list[dict[str, Any]]], aims: dict[tuple[str, str], float], kind: str
) -> Report:
    """Rates and ratios."""
    rates = {name: [_rate(cell) for cell in cells] for name, cells in measured.items()}
    found = [
        Found(
            subject=name,
            rate=_spread(rates[name]),
            rounds=[round(rate, 3) for rate in rates[name]],
            latency=round(statistics.median(s for cell in cells for s in cell["latencies"]), 3),
            computed=round(statistics.median(map(_computed, cells)), 3),
        )
        for name, cells in measured.items()
    ]
    ratios = [
        Ratio(
            one,
            other,
            aim,
            _spread([a / b for a, b in zip(rates[one], rates[other], strict=True) if b]),
        )
        for (one, other), aim in aims.items()
        if one in rates and other in rates and all(rates[other])
    ]
    return Report(
        command=command_line("engines"),
        machine=machine(),
        versions=versions(),
        kind=kind,
        found=found,
        ratios=ratios,
    )


def markdown(made: Report) -> str:
    """The report for people."""
    lines = [f"# Engines side by side: {made.kind}", "", f"`{made.command}`", ""]
    lines += [f"- {name}: {value}" for name, value in {**made.machine, **made.versions}.items()]
    lines += [
        "",
        "| engine | requests a second (least, most) | median latency, s | core seconds each* |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {TITLES[each.subject]} | {each.rate.median:.2f} ({each.rate.least:.2f}, "
        f"{each.rate.most:.2f}) | {each.latency:.2f} | {each.computed:.2f} |"
        for each in made.found
    ]
    lines += [
        "",
        "\\* Of the process that was started: vLLM computes in children, not counted here.",
    ]
    lines += ["", "| ratio | median (least, most) | aim |", "|---|---|---|"]
    lines += [
        f"| {TITLES[each.one]} / {TITLES[each.other]} | {each.ratio.median:.2f} "
        f"({each.ratio.least:.2f}, {each.ratio.most:.2f}) | {each.aim:g} |"
        for each in made.ratios
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="subjects by name, with commas")
    parser.add_argument("--vllm-python", default="", help="Python of an environment with vLLM")
    parser.add_argument("--staggered", action="store_true")
    parser.add_argument("--latency", type=float, default=4.0, help="seconds, with --staggered")
    parser.add_argument("--from-rate", type=float, default=0.6, help="first rate tried")
    parser.add_argument("--cache", type=Path, default=ROOT / ".cache" / "engines")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    arguments = parser.parse_args()
    names = [name for name in TITLES if name != "vllm" or arguments.vllm_python]
    if arguments.only:
        names = [name for name in names if name in arguments.only.split(",")]
    folders = prepare(arguments.cache, names)
    with subjects(names, folders, arguments.vllm_python) as up:
        if arguments.staggered:
            kind = f"the most that arrives at random and is answered in {arguments.latency:g} s"
            measured = measure_staggered(
                up, arguments.rounds, arguments.latency, arguments.from_rate
            )
            made = report(measured, STAGGERED_AIMS, kind)
        else:
            made = report(measure_bursts(up, arguments.rounds), AIMS, f"{BATCH} at a time")
    suffix = "staggered" if arguments.staggered else "engines"
    write_report(made, markdown(made), arguments.results, "llava-230m", today(), suffix)
    print(markdown(made))


if __name__ == "__main__":
    main()
