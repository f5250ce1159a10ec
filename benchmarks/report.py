"""What benchmarks write to `results/`, as JSON and for people; and the report of `serving`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from benchmarks.figures import Figures, Spread
from benchmarks.machine import hardware_slug

ENGINE = "engine alone"
GATEWAY = "gateway"
NAIVE = "naive design"
"""The subjects by name."""

MIB = 1024 * 1024


def command_line(benchmark: str) -> str:
    """What this process was started with, as it can be pasted: a module of this package."""
    return shlex.join(["python", "-m", f"benchmarks.{benchmark}", *sys.argv[1:]])


def today() -> str:
    """The date of a report, ISO 8601, UTC."""
    return datetime.now(UTC).date().isoformat()


def write_report(
    report: msgspec.Struct, text: str, folder: Path, model: str, date: str, kind: str
) -> Path:
    """Writes a report; the files are named by model, hardware, date and kind.

    Args:
        report: What was found; goes to the JSON.
        text: The same for people, in Markdown.
        folder: Made where it is not there.
        model: The model's name, without its revision.
        date: As `today` gives it.
        kind: Which benchmark.

    Returns:
        The Markdown's path; the JSON lies beside it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{model}_{hardware_slug()}_{date}_{kind}.md"
    path.write_text(text, encoding="utf-8")
    raw = msgspec.json.format(msgspec.json.encode(report), indent=1)
    path.with_suffix(".json").write_bytes(raw + b"\n")
    return path


class Memory(msgspec.Struct, frozen=True):
    """Resident bytes of all processes together: RSS, and PSS, which counts shared pages once."""

    rss: int
    pss: int


class CellReport(msgspec.Struct, frozen=True):
    """What a subject did with one question at one concurrency."""

    question: str
    concurrency: int
    subject: str
    all_rounds: Figures
    rounds: list[Figures]


class Ratio(msgspec.Struct, frozen=True):
    """A subject beside the gateway; each round is compared with its own.

    Attributes:
        rate: Requests per second through the gateway, divided by those of the other.
        added_ms: Median latency through the gateway, less that of the other, in milliseconds.
    """

    question: str
    concurrency: int
    other: str
    rate: Spread
    added_ms: Spread


class Agreement(msgspec.Struct, frozen=True):
    """How many of the pictures that both answered got the same text."""

    subjects: tuple[str, str]
    share: float
    pictures: int


class Report(msgspec.Struct, frozen=True):
    """Everything that one run of `serving` found."""

    command: str
    date: str
    machine: dict[str, str]
    versions: dict[str, str]
    model: str
    settings: dict[str, str]
    cold_starts: dict[str, list[float]]
    memory: dict[str, Memory]
    cells: list[CellReport]
    ratios: list[Ratio]
    agreements: list[Agreement]


def markdown(report: Report) -> str:
    """The report for people."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield f"# Serving {report.model}, {report.date}"
    yield ""
    yield f"    {report.command}"
    yield ""
    for group in (report.machine, report.versions, report.settings):
        yield from (f"- {name}: {value}" for name, value in group.items())
    yield ""
    yield from _starts(report)
    for question in dict.fromkeys(cell.question for cell in report.cells):
        yield from ("", f"## {question}", "")
        yield from _answers(report, question)
    yield from ("", "## What the gateway costs, and what it gains", "")
    yield from _ratios(report)
    yield from ("", "## Where the processor time of a request goes", "")
    yield from _processor(report)
    yield from ("", "## Same answers", "")
    for one in report.agreements:
        first, second = one.subjects
        yield f"- {first} and {second}: {one.share:.1%} of {one.pictures} texts are equal"
    cached = sum(cell.all_rounds.cached for cell in report.cells)
    yield f"- answers that came from a cache: {cached}"
    yield from ("", "## Each round", "")
    yield from _rounds(report)


def _starts(report: Report) -> Iterator[str]:
    yield from _head("", "ready after, s", "memory after load: RSS, MiB", "PSS, MiB")
    for name, memory in report.memory.items():
        seconds = ", ".join(f"{value:.2f}" for value in report.cold_starts.get(name, []))
        rss, pss = (f"{number / MIB:.0f}" for number in (memory.rss, memory.pss))
        yield _row(name, seconds or "-", rss, pss)


def _answers(report: Report, question: str) -> Iterator[str]:
    yield from _head(
        "at once", "", "requests/s", "P50, ms", "P95, ms", "P99, ms", "tokens/s", "n", "errors"
    )
    for cell in report.cells:
        if cell.question == question:
            yield _row(str(cell.concurrency), cell.subject, *_latencies(cell.all_rounds))


def _latencies(found: Figures) -> Iterator[str]:
    yield f"{found.rate:.1f}"
    yield from (f"{value:.1f}" for value in (found.p50, found.p95, found.p99))
    yield f"{found.tokens_rate:.0f}"
    yield from (str(found.requests), str(found.errors))


def _ratios(report: Report) -> Iterator[str]:
    yield "Median of the rounds (least to most)."
    yield ""
    yield from _head("question", "at once", "against", "requests/s, times", "P50, ms more")
    for one in report.ratios:
        values = f"{one.rate:.2f}", f"{one.added_ms:.1f}"
        yield _row(one.question, str(one.concurrency), one.other, *values)


def _processor(report: Report) -> Iterator[str]:
    yield "Milliseconds of one core for each request, by process; the load's process beside them."
    yield ""
    yield from _head("question", "at once", "", "processes", "load, share of a core")
    for cell in report.cells:
        parts = ", ".join(f"{name} {ms:.1f}" for name, ms in cell.all_rounds.cpu_ms.items())
        alone = cell.subject == ENGINE
        share = "-" if alone else f"{cell.all_rounds.client_cpu:.0%}"
        yield _row(cell.question, str(cell.concurrency), cell.subject, parts, share)


def _rounds(report: Report) -> Iterator[str]:
    yield from _head(
        "question", "at once", "", "round", "requests/s", "P50, ms", "P95, ms", "P99, ms",
        "tokens/s", "n", "errors",
    )  # fmt: skip
    for cell in report.cells:
        for number, found in enumerate(cell.rounds, 1):
            first = cell.question, str(cell.concurrency), cell.subject, str(number)
            yield _row(*first, *_latencies(found))


def _head(*names: str) -> Iterable[str]:
    return _row(*names), _row(*("---" for _ in names))


def _row(*values: str) -> str:
    return f"| {' | '.join(values)} |"
