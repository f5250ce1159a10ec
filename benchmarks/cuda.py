"""What only a CUDA card can tell, in one command of at most eight minutes.

    python -m benchmarks.cuda [--seconds 450] [--out FOLDER]
    python -m benchmarks.cuda --device cpu --quick      shows on a CPU that all parts run

It needs torch, transformers and Silkline's engine `torch`, nothing that is downloaded: the models
are the bundled one and LLaVA layouts of random weights. The steps, most wanted first; one that no
longer fits into the time, or fails, says so in the report:

- answers: the bundled model's greedy answers on the card beside those in float32 on the CPU;
- attention: eager and torch's fused attention, time and memory, a prompt of 1,024 tokens;
- batching: answers a second with 16 requests at once against one at a time, and `generate`;
- quantised: each scheme of compressed-tensors in the torch engine: size, rate, peak memory, the
  kernels that its trials chose, and how far the first logits are from those of plain weights.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import msgspec
import torch
from PIL import Image as Pillow

from benchmarks import attention
from benchmarks.engines_model import Size, write_model
from benchmarks.engines_subject import (
    QUESTION,
    SIDE,
    Transformers,
    image,
    serve_engine,
    serve_peer,
)
from benchmarks.machine import machine, versions
from benchmarks.options import ROOT
from benchmarks.report import MIB, command_line, today, write_report
from silkline.core import Image, ImagePart, Message, Request, Role, Sampling, TextPart
from silkline.engines.base import EngineOptions
from silkline.engines.torch.engine import TorchEngine
from silkline.models.bundle import EngineWeights
from silkline.models.resolve import bundled_folder
from silkline.models.weights import read_weights
from silkline.optimize.optimisation import Optimisation, Work
from silkline.optimize.torch import FP8, W4A16, W8A8, W8A16

TOKENS = 32
BATCH = 16
LARGE = Size(hidden=2048, intermediate=5632, layers=24, heads=16, kv_heads=8, vocabulary=2048)
"""1.2 billion parameters: large enough that weights are what a decoding step reads. The vocabulary
is small, as it takes seconds to prepare for constrained answers."""

SMALL = Size(64, 2, hidden=128, intermediate=256, layers=2, heads=4, kv_heads=2, vocabulary=1024)
SCHEMES: dict[str, Optimisation | None] = {
    "plain": None, "w8a8": W8A8, "fp8": FP8, "w8a16": W8A16, "w4a16": W4A16,
}  # fmt: skip


class Row(msgspec.Struct, frozen=True):
    """A line of the report."""

    step: str
    what: str
    found: str


class Report(msgspec.Struct, frozen=True):
    """Everything that one run found."""

    command: str
    date: str
    device: str
    machine: dict[str, str]
    versions: dict[str, str]
    seconds: float
    rows: list[Row]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the steps run.

    Attributes:
        device: "cuda" or "cpu".
        folder: For models.
        size: Of the model with random weights.
        requests: At once.
    """

    device: str
    folder: Path
    size: Size
    requests: int


Step = Callable[[Place], list[tuple[str, str]]]
"""Measures; returns what and how much."""


def _options(folder: Path, device: str, **extra: str) -> EngineOptions:
    chosen = {"device": device} | extra
    return EngineOptions(model=folder, max_batch=BATCH, kv_cache_bytes=1 << 30, extra=chosen)


def _request(pixels: Image, question: str, tokens: int) -> Request:
    said = Message(Role.USER, (ImagePart(0), TextPart(question)))
    return Request("cuda", (said,), (pixels,), Sampling(max_tokens=tokens), 300.0)


def answers(place: Place) -> list[tuple[str, str]]:
    """Greedy answers of the bundled model, on the device and in float32 on the CPU."""
    shown = []
    for path in sorted((bundled_folder() / "evaluation").glob("*.jpg"))[: 4 * place.requests]:
        with Pillow.open(path) as opened:
            rgb = opened.convert("RGB")
        shown.append(Image(rgb.width, rgb.height, rgb.tobytes(), path.name))

    async def said(device: str, dtype: str) -> list[str]:
        engine = TorchEngine(_options(bundled_folder(), device, dtype=dtype))
        await engine.start()
        try:
            return list(await asyncio.gather(*(answer(engine, one) for one in shown)))
        finally:
            await engine.aclose()

    async def answer(engine: TorchEngine, pixels: Image) -> str:
        asked = _request(pixels, "Give the record as JSON.", 64)
        async with aclosing(engine.generate(asked)) as deltas:
            return "".join([delta.text async for delta in deltas])

    expected = asyncio.run(said("cpu", "float32"))
    rows = []
    for dtype in ("float32", "auto"):
        found = asyncio.run(said(place.device, dtype))
        same = sum(a == b for a, b in zip(found, expected, strict=True))
        rows.append((f"dtype={dtype}, the same texts", f"{same} of {len(expected)}"))
    return rows


def attend(place: Place) -> list[tuple[str, str]]:
    """Eager beside torch's fused attention."""
    rows = []
    for tokens in (1024, 2048) if place.device == "cuda" else (256,):
        dtype = "bfloat16" if place.device == "cuda" else "float32"
        case = attention.Case(model="llava-1.5-7b", stage="prompt", dtype=dtype, tokens=tokens)
        row = attention.compare(case, place.device)
        peak = {way: max(one[way].peak for one in row.rounds) / MIB for way in ("eager", "sdpa")}
        found = f"{row.times_faster:.2f} times; {peak['sdpa']:.1f} of {peak['eager']:.1f} MiB"
        rows.append((f"prompt of {tokens} tokens, {dtype}: fused against eager", found))
    return rows


def batching(place: Place) -> list[tuple[str, str]]:
    """Rates with many requests at once and with one, beside `generate`."""
    folder = _model(place)

    async def rates() -> tuple[float, float]:
        engine = TorchEngine(_options(folder, place.device))
        await engine.start()
        try:
            await _rate(engine, 10_000, place.requests)  # captures graphs
            return await _rate(engine, 0, place.requests), await _rate(engine, 500, 1)
        finally:
            await engine.aclose()

    many, one = asyncio.run(rates())
    peer = Transformers(folder, TOKENS, place.device)
    serve_peer(peer, {"first": 0, "arrivals": [0.0] * place.requests}, TOKENS)
    told = serve_peer(peer, {"first": 1000, "arrivals": [0.0] * place.requests}, TOKENS)
    static = place.requests / told["seconds"]
    return [
        (f"{place.requests} requests at once, answers a second", f"{many:.2f}"),
        ("one at a time, answers a second", f"{one:.2f}"),
        ("dynamic batching, times", f"{many / one:.2f}"),
        ("transformers `generate`, one static batch, answers a second", f"{static:.2f}"),
    ]


async def _rate(engine: TorchEngine, first: int, many: int) -> float:
    told = await serve_engine(engine, {"first": first, "arrivals": [0.0] * many}, TOKENS)
    return many / float(told["seconds"])


def quantised(place: Place) -> list[tuple[str, str]]:
    """Every scheme of compressed-tensors on the model with random weights."""
    rows: list[tuple[str, str]] = []
    plain: torch.Tensor | None = None
    for name, scheme in SCHEMES.items():
        logits, found = _scheme(place, name, scheme)
        if plain is None:
            plain = logits
        else:
            apart = float((logits - plain).abs().max() / plain.abs().max())
            found += f"; first logits {apart:.2%} apart"
        rows.append((name, found))
    return rows


def _scheme(place: Place, name: str, scheme: Optimisation | None) -> tuple[torch.Tensor, str]:
    folder = _model(place)
    if scheme is not None:
        folder = Path(shutil.copytree(folder, place.folder / name))
        scheme.apply(Work(folder, EngineWeights(".", "bfloat16"), []))
    size = read_weights(folder).bytes / MIB
    said = _Said()
    logger = logging.getLogger("silkline.engines.torch")
    logger.setLevel(logging.INFO)
    logger.addHandler(said)

    async def run() -> tuple[torch.Tensor, float]:
        engine = TorchEngine(_options(folder, place.device))
        await engine.start()
        try:
            await _rate(engine, 20_000, place.requests)
            pixels = Image(SIDE, SIDE, image(7).tobytes(), "7")
            logits = await engine.first_logits(_request(pixels, QUESTION, 1))
            return logits, await _rate(engine, 0, place.requests)
        finally:
            await engine.aclose()

    try:
        if place.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        logits, rate = asyncio.run(run())
    finally:
        logger.removeHandler(said)
        if scheme is not None:
            shutil.rmtree(folder, ignore_errors=True)
    peak = torch.cuda.max_memory_allocated() / MIB if place.device == "cuda" else 0.0
    found = f"{size:.0f} MiB of files, {rate:.2f} answers a second, peak {peak:.0f} MiB"
    return logits, "; ".join([found, *said.lines])


class _Said(logging.Handler):
    """Keeps what the engine says of its kernels."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        if (line := record.getMessage()) not in self.lines:
            self.lines.append(line)


def _model(place: Place) -> Path:
    folder = place.folder / "model"
    if not folder.is_dir():
        write_model(folder, place.size)
    return folder


STEPS: dict[str, tuple[Step, float]] = {
    "answers": (answers, 60.0),
    "attention": (attend, 30.0),
    "quantised": (quantised, 200.0),
    "batching": (batching, 90.0),
}
"""The steps, and the seconds that each may take at most by estimate."""


def run(steps: Sequence[str], place: Place, until: float) -> list[Row]:
    """Runs the steps that fit until a time of `time.monotonic`; one that fails says why."""
    rows = []
    for name in steps:
        step, seconds = STEPS[name]
        began = time.monotonic()
        if began + seconds > until:
            rows.append(Row(name, "not measured", f"{until - began:.0f} s are left, it takes up to "
                            f"{seconds:.0f} s"))  # fmt: skip
            continue
        try:
            rows += [Row(name, what, found) for what, found in step(place)]
        except Exception as error:  # noqa: BLE001 - the other steps are worth the card's time
            rows.append(Row(name, "failed", f"{type(error).__name__}: {error}"[:500]))
        gc.collect()
        if place.device == "cuda":
            torch.cuda.empty_cache()
        rows.append(Row(name, "took", f"{time.monotonic() - began:.0f} s"))
        print(
            json.dumps([msgspec.to_builtins(row) for row in rows if row.step == name]), flush=True
        )
    return rows


def markdown(report: Report) -> str:
    """The report for people."""
    lines = [f"# On {report.device}, {report.date}", "", f"    {report.command}", ""]
    for group in (report.machine, report.versions):
        lines += [f"- {name}: {value}" for name, value in group.items()]
    lines += ["", f"{report.seconds:.0f} s in all.", "", "| step | what | found |", "|---|---|---|"]
    lines += [f"| {row.step} | {row.what} | {row.found} |" for row in report.rows]
    return "\n".join(lines) + "\n"


def main(words: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seconds", type=float, default=450.0, help="time for all steps")
    parser.add_argument("--only", default=",".join(STEPS), help="steps, with commas")
    parser.add_argument("--quick", action="store_true", help="tiny models; only shows that it runs")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    arguments = parser.parse_args(words)
    began = time.monotonic()
    on_cuda = arguments.device == "cuda"
    with tempfile.TemporaryDirectory(prefix="silkline-cuda-") as folder:
        size, requests = (SMALL, 2) if arguments.quick else (LARGE, BATCH)
        place = Place(arguments.device, Path(folder), size, requests)
        rows = run(arguments.only.split(","), place, began + arguments.seconds)
    report = Report(
        command=command_line("cuda"),
        date=today(),
        device=torch.cuda.get_device_name() if on_cuda else "the CPU",
        machine=machine(),
        versions=versions() | {"torch": str(torch.__version__)},
        seconds=time.monotonic() - began,
        rows=rows,
    )
    write_report(report, markdown(report), arguments.out, "torch", report.date, "cuda")
    print(markdown(report))


if __name__ == "__main__":
    main()
