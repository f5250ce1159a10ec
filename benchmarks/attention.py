"""The torch engine's two ways to attend, side by side: time and memory.

    python -m benchmarks.attention

`eager` spells all scores out, `sdpa` is torch's fused attention. A prompt attends to itself, and
the next tokens of sixteen requests attend to theirs, in one layer of LLaVA-1.5-7B and of the model
of `benchmarks.engines`. Memory is the most that a call holds beside queries, keys and values.
"""

from __future__ import annotations

import argparse
import ctypes
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import msgspec
import psutil
import torch

from benchmarks.figures import Spread, spread
from benchmarks.machine import machine, versions
from benchmarks.options import ROOT
from benchmarks.report import MIB, command_line, today, write_report
from silkline.engines.torch.attention import Form
from silkline.engines.torch.attention_choice import SCORES

HEADS = {"llava-1.5-7b": (32, 32, 128), "llava-230m": (9, 3, 64)}
"""Query heads, KV heads and their width."""

BATCH = 16
ROUNDS = 3
SECONDS = 0.5

_READING = f"""Median of {ROUNDS} rounds (least to most). Next tokens are those of {BATCH} requests.
Memory is the most that a call holds beside its input."""
_HEAD = (
    "| layer of | type | stage | tokens "
    "| eager, ms | sdpa, ms | times faster | eager, MiB | sdpa, MiB |"
)


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """What is measured: a stage of a model at a length, in a type."""

    model: str
    stage: str
    dtype: str
    tokens: int


class Measured(msgspec.Struct, frozen=True):
    """Seconds of a call at its best, and the most bytes that it held."""

    seconds: float
    peak: int


class Row(msgspec.Struct, frozen=True):
    """Both ways at one case; the times of `eager` divided by those of `sdpa`."""

    case: Case
    rounds: list[dict[str, Measured]]
    times_faster: Spread


class Report(msgspec.Struct, frozen=True):
    """All that one run found."""

    command: str
    date: str
    device: str
    machine: dict[str, str]
    versions: dict[str, str]
    rows: list[Row]


def cases(dtypes: list[str]) -> Iterator[Case]:
    """All that are measured."""
    for model, dtype, stage in product(HEADS, dtypes, ("prompt", "next tokens")):
        for tokens in (512, 2048) if stage == "prompt" else (512,):
            yield Case(model=model, stage=stage, dtype=dtype, tokens=tokens)


def call(case: Case, way: str, device: str) -> Callable[[], torch.Tensor]:
    """One call of attention, its queries, keys and values being there."""
    heads, kv_heads, width = HEADS[case.model]
    like = torch.zeros(0, dtype=getattr(torch, case.dtype), device=device)
    rows = case.tokens if case.stage == "prompt" else heads // kv_heads
    count, asking = (1, heads) if case.stage == "prompt" else (BATCH, kv_heads)
    query = like.new_ones(count, asking, rows, width)
    keys, values = (like.new_ones(count, kv_heads, case.tokens, width) for _ in range(2))
    mask = None if case.stage == "prompt" else like.new_zeros(count, 1, 1, case.tokens)
    score, form = SCORES[way], Form(scaling=width**-0.5)
    return lambda: score(query, keys, values, mask=mask, form=form)


def measure(case: Case, way: str, device: str) -> Measured:
    """Calls again and again for a while, after one call that does not count."""
    attend = call(case, way, device)
    with torch.inference_mode():
        peak = _peak(attend, device)
        least, until = float("inf"), time.perf_counter() + SECONDS
        while time.perf_counter() < until:
            began = time.perf_counter()
            attend()
            if device == "cuda":
                torch.cuda.synchronize()
            least = min(least, time.perf_counter() - began)
    return Measured(least, peak)


def _peak(attend: Callable[[], torch.Tensor], device: str) -> int:
    """The most bytes that a call holds beside its input."""
    if device == "cuda":
        attend()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        attend()
        return int(torch.cuda.max_memory_allocated() - before)
    ctypes.CDLL(None).malloc_trim(0)  # what was freed, but kept for later, would hide what is taken
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the high-water mark anew
    before = psutil.Process().memory_info().rss
    attend()
    status = Path("/proc/self/status").read_text(encoding="ascii")
    high = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    return max(0, int(high) * 1024 - before)


def compare(case: Case, device: str) -> Row:
    """Measures both ways in turns."""
    rounds = []
    for turn in range(ROUNDS):
        ways = sorted(SCORES, reverse=turn % 2 == 1)
        rounds.append({way: measure(case, way, device) for way in ways})
    faster = [found["eager"].seconds / found["sdpa"].seconds for found in rounds]
    return Row(case, rounds, spread(faster))


def markdown(report: Report) -> str:
    """The report for people."""
    lines = [f"# Attention of the torch engine on {report.device}", "", f"`{report.command}`", ""]
    for group in (report.machine, report.versions):
        lines += [f"- {name}: {value}" for name, value in group.items()]
    lines += ["", _READING, "", _HEAD, "|---" * 9 + "|"]
    for row in report.rows:
        best = {way: min(found[way].seconds for found in row.rounds) * 1000 for way in SCORES}
        peak = {way: max(found[way].peak for found in row.rounds) / MIB for way in SCORES}
        lines.append(
            f"| {row.case.model} | {row.case.dtype} | {row.case.stage} | {row.case.tokens} "
            f"| {best['eager']:.2f} | {best['sdpa']:.2f} | {row.times_faster:.2f} "
            f"| {peak['eager']:.1f} | {peak['sdpa']:.1f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measures all cases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    arguments = parser.parse_args()
    on_cuda = arguments.device == "cuda"
    report = Report(
        command=command_line("attention"),
        date=today(),
        device=torch.cuda.get_device_name() if on_cuda else "the CPU",
        machine=machine(),
        versions=versions(),
        rows=[
            compare(case, arguments.device)
            for case in cases(["bfloat16"] if on_cuda else ["float32", "bfloat16"])
        ],
    )
    kind = "attention-cuda" if on_cuda else "attention"
    write_report(report, markdown(report), arguments.results, "llava", report.date, kind)
    print(markdown(report))


if __name__ == "__main__":
    main()
