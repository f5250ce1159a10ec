"""The four claims of the guide beside what is measured here: `make bench-guide`.

    python -m benchmarks.guide [MODEL ...] [--data FILE] [--student BUNDLE] [--quick]

A guide to serving vision-language models promises: INT8 at a quarter of the size, three times the
throughput and 0.3 points lost; dynamic batching 2.7 times; better attention 1.8 times at half of
the memory; a student of 40% of the parameters with 95% of the accuracy. Each row has what is
measured for the bundled model, and for other folders of safetensors that are named. What cannot be
measured here says why. For the bundled model, so many questions are drawn by its recipe that the
margin can be shown.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import torch

from benchmarks import attention
from benchmarks.closed_loop import Cell
from benchmarks.engines import exported
from benchmarks.figures import Spread, figures, spread
from benchmarks.machine import machine, versions
from benchmarks.options import ROOT
from benchmarks.pictures import Pictures
from benchmarks.processes import BenchmarkError, leave
from benchmarks.report import GATEWAY, MIB, NAIVE, command_line, today, write_report
from benchmarks.subjects import Place, safetensors_folder, subject
from recipes.mini.evaluation_set import write_set
from silkline.models.resolve import BUNDLED_MODEL, bundled_folder, resolve_model
from silkline.models.weights import read_weights
from silkline.optimize.size import weight_bytes

CLIENTS = 16
ITEMS = 4096
"""Questions that show a loss below 0.3 points where 0.5% of the answers change."""

_SHIPPED_ITEMS = 64
_QUESTION, _TOKENS = "Describe this product.", 64
_IMAGE_TOKENS = 1024
_NOT = "not measured"


class Row(msgspec.Struct, frozen=True):
    """A claim.

    Attributes:
        claim: What is claimed.
        guide: What the guide says.
        ours: What was measured, or "not measured" and why.
        reached: Whether that is at least as good; None if it was not measured or not shown.
        how: How it was measured.
    """

    claim: str
    guide: str
    ours: str
    reached: bool | None
    how: str


class Report(msgspec.Struct, frozen=True):
    """Everything that one run found, by model."""

    command: str
    date: str
    machine: dict[str, str]
    versions: dict[str, str]
    models: dict[str, list[Row]]


class Sides(msgspec.Struct, frozen=True):
    """A model's two bundles for the engine openvino, and the folder that transformers loads."""

    name: str
    int8: Path
    exact: Path
    safetensors: Path


def sides_of(model: str, cache: Path) -> Sides:
    """Finds a model, and exports it where it is no bundle; a minute the first time."""
    store = cache / "store"
    if model != BUNDLED_MODEL:
        folder = Path(model)
        int8, exact = (exported(folder, store, precision).folder for precision in ("int8", "fp16"))
        return Sides(folder.name, int8, exact, folder)
    plain = cache / "safetensors"  # without the manifest: else it would be served as it is
    if not plain.is_dir():
        files = [path for path in bundled_folder().iterdir() if path.suffix in {".json", ".jinja"}]
        plain.mkdir(parents=True)
        for path in (*files, safetensors_folder(model) / "model.safetensors"):
            if path.name != "bundle.json":
                shutil.copyfile(path, plain / path.name)
    exact = exported(plain, store, "fp16").folder
    return Sides(model, resolve_model(model).folder, exact, plain)


def size_row(sides: Sides) -> Row:
    """The bytes of INT8 beside four for each parameter."""
    parameters = read_weights(sides.safetensors).total or 0
    weights = resolve_model(str(sides.int8)).weights("openvino")
    small = weight_bytes(weights, "openvino") or 0
    saved = 1 - small / (4 * parameters)
    return Row(
        "INT8: smaller than FP32 by",
        "75%",
        f"{saved:.1%} ({small / MIB:.1f} of {4 * parameters / MIB:.1f} MiB)",
        saved >= 0.75,
        "files that the engine loads, 4 bytes a parameter",
    )


def rates(
    sides: Sides, cache: Path, rounds: int, seconds: float
) -> dict[tuple[str, int], list[float]]:
    """Answers a second of three servers, with 16 clients and with one, in turns."""
    places = {
        "int8": (GATEWAY, Place(cache, "openvino", str(sides.int8))),
        "fp32": (GATEWAY, Place(cache, "openvino", str(sides.exact))),
        "transformers": (NAIVE, Place(cache, "openvino", str(sides.safetensors))),
    }
    Pictures(cache / "bench-pictures").draw()
    found: dict[tuple[str, int], list[float]] = {}
    first, pictures = 0, int(40 * seconds) + 8 * CLIENTS
    with ExitStack() as stack:
        up = {name: stack.enter_context(subject(*place)) for name, place in places.items()}
        for number in range(rounds):
            for clients in (CLIENTS, 1):
                for name in sorted(up, reverse=number % 2 == 1):
                    cell = Cell(_QUESTION, _TOKENS, clients, seconds / 4, seconds, first, pictures)
                    measured = figures(up[name].driver.run(cell), {})
                    if measured.errors:
                        raise BenchmarkError(f"{measured.errors} requests to {name} failed")
                    found.setdefault((name, clients), []).append(measured.rate)
                    first += pictures
                    print(f"round {number}, {clients} clients, {name}: {measured.rate:.2f}/s")
    return found


def speed_rows(found: dict[tuple[str, int], list[float]]) -> list[Row]:
    """Ratios of rates, within the rounds."""

    def ratio(one: tuple[str, int], other: tuple[str, int]) -> Spread:
        return spread([a / b for a, b in zip(found[one], found[other], strict=True)])

    int8 = "int8", CLIENTS
    asked = f"{CLIENTS} clients, uploads, {_QUESTION!r}"
    rows = (
        (
            "INT8: throughput against FP32 as transformers serves it, times",
            "3",
            ratio(int8, ("transformers", CLIENTS)),
            3.0,
            f"{asked}; `silkline up` and a server around `generate`",
        ),
        (
            "INT8: throughput against FP32 in the same engine, times",
            "(not said)",
            ratio(int8, ("fp32", CLIENTS)),
            1.0,
            f"{asked}; both `silkline up`",
        ),
        (
            "Dynamic batching: throughput of 16 clients against 1, times",
            "2.7",
            ratio(int8, ("int8", 1)),
            2.7,
            "INT8, `silkline up`",
        ),
    )
    return [
        Row(claim, guide, f"{ours:.2f}", ours.median >= least, how)
        for claim, guide, ours, least, how in rows
    ]


def gate(candidate: Path, baseline: Path, data: str, folder: Path) -> dict[str, Any]:
    """The record of a gate on a copy of the candidate, whose verdict nobody needs.

    Raises:
        BenchmarkError: The gate could not be run.
    """
    copy = folder / "candidate"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(candidate, copy)
    command = [sys.executable, "-m", "silkline", "gate", copy, "--against", baseline]
    command += ["--engine", "openvino", "--data", data, "--out", folder / "out", "--json"]
    command += ["--require", "accuracy_drop<=0.3pt", "--require", "accuracy>=50%"]
    done = subprocess.run(
        [str(word) for word in command], check=False, capture_output=True, text=True
    )
    if not done.stdout:
        raise BenchmarkError(f"the gate says: {done.stderr.strip()}")
    record: dict[str, Any] = json.loads(done.stdout)["record"]
    return record


def loss_row(record: dict[str, Any]) -> Row:
    """Points lost, and whether the set is large enough to tell."""
    drop = record["findings"][0]
    verdict = drop["verdict"]
    return Row(
        "INT8: points lost, at most",
        "0.3",
        drop["reason"],
        None if verdict == "undecided" else verdict == "passed",
        f"`silkline gate`, {record['items']} items, {record['images']} images",
    )


def student_row(student: Path | None, sides: Sides, data: str, cache: Path) -> Row:
    """A student's share of the parameters and of the accuracy."""
    claim, guide = "Student: parameters and accuracy of the teacher's", "40%, 95%"
    if student is None:
        return Row(claim, guide, f"{_NOT}: no student was given by --student", None, "")
    record = gate(student, sides.exact, data, cache / "gate-student")
    drop, level = (each["value"] for each in record["findings"][:2])
    small = read_weights(_safetensors(student)).total
    large = read_weights(sides.safetensors).total
    if not small or not large or level is None or drop is None:
        return Row(claim, guide, f"{_NOT}: its safetensors are not in its folder", None, "")
    parameters, accuracy = small / large, level / (level + drop)
    return Row(
        claim,
        guide,
        f"{parameters:.0%}, {accuracy:.1%}",
        parameters <= 0.4 and accuracy >= 0.95,
        f"`silkline gate`, {record['items']} items",
    )


def _safetensors(folder: Path) -> Path:
    return next((path.parent for path in sorted(folder.rglob("model.safetensors"))), folder)


def attention_rows(device: str, measure: Callable[..., attention.Row] | None = None) -> list[Row]:
    """Torch's fused attention beside all scores spelled out, in a layer of LLaVA-1.5-7B."""
    dtype = "bfloat16" if device == "cuda" else "float32"
    case = attention.Case(model="llava-1.5-7b", stage="prompt", dtype=dtype, tokens=_IMAGE_TOKENS)
    row = (measure or attention.compare)(case, device)
    peak = {way: max(found[way].peak for found in row.rounds) / MIB for way in ("eager", "sdpa")}
    how = f"a prompt of {_IMAGE_TOKENS} tokens, {dtype}, on {device}"
    share = peak["sdpa"] / peak["eager"]
    return [
        Row("Attention: times as fast as eager", "1.8", f"{row.times_faster:.2f}",
            row.times_faster.median >= 1.8, how),
        Row("Attention: memory of eager's", "50%",
            f"{share:.0%} ({peak['sdpa']:.0f} of {peak['eager']:.0f} MiB)", share <= 0.5, how),
    ]  # fmt: skip


def questions(model: str, data: str, cache: Path, count: int) -> str:
    """The data set: what is given, but for the bundled model, questions that it was not taught."""
    if model != BUNDLED_MODEL:
        return data
    folder = cache / f"held-out-{count}"
    if not (folder / "held-out.jsonl").is_file():
        write_set(folder, count, _SHIPPED_ITEMS)
    return str(folder / "held-out.jsonl")


def measure(model: str, arguments: argparse.Namespace) -> list[Row]:
    """All rows of a model."""
    cache = arguments.cache / "guide"
    sides = sides_of(model, cache)
    quick = arguments.quick
    data = questions(model, arguments.data, cache, 64 if quick else arguments.items)
    found = rates(sides, cache, 1 if quick else 3, 2.0 if quick else 15.0)
    batching = speed_rows(found)
    rows = [size_row(sides), *batching[:2]]
    if data:
        rows.append(loss_row(gate(sides.int8, sides.exact, data, cache / "gate-int8")))
    else:
        rows.append(Row("INT8: points lost, at most", "0.3", f"{_NOT}: no --data", None, ""))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    last = [BUNDLED_MODEL, *arguments.models][-1]
    student = arguments.student if model == last else None
    return [*rows, batching[2], *attention_rows(device), student_row(student, sides, data, cache)]


def markdown(report: Report) -> str:
    """The report for people."""
    lines = [f"# The guide's claims beside ours, {report.date}", "", f"    {report.command}", ""]
    for group in (report.machine, report.versions):
        lines += [f"- {name}: {value}" for name, value in group.items()]
    marks = {True: "yes", False: "no", None: "-"}
    for model, rows in report.models.items():
        lines += ["", f"## {model}", "", "| claim | guide | here | reached | how |"]
        lines += ["|---" * 5 + "|"]
        lines += [
            f"| {row.claim} | {row.guide} | {row.ours} | {marks[row.reached]} | {row.how} |"
            for row in rows
        ]
    return "\n".join(lines) + "\n"


def main(words: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", help="folders beside the bundled one")
    parser.add_argument("--data", default="", help="data set for these models")
    parser.add_argument("--student", type=Path, help="bundle of a student of the last model")
    parser.add_argument("--items", type=int, default=ITEMS, help="questions to draw")
    parser.add_argument("--quick", action="store_true", help="only shows that all parts run")
    parser.add_argument("--cache", type=Path, default=ROOT / ".cache")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    arguments = parser.parse_args(words)
    signal.signal(signal.SIGTERM, leave)
    before, models = machine(), [BUNDLED_MODEL, *arguments.models]
    try:
        found = {model: measure(model, arguments) for model in models}
    except BenchmarkError as error:
        sys.exit(f"benchmark: {error}")
    report = Report(command_line("guide"), today(), before, versions(), found)
    results = arguments.cache / "bench-quick" if arguments.quick else arguments.results
    write_report(report, markdown(report), results, Path(models[-1]).name, report.date, "guide")
    print(markdown(report))


if __name__ == "__main__":
    main()
