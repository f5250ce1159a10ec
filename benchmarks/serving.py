"""What the gateway costs and what the engine behind it gains: `make bench`.

Cold start and memory; then requests per second and latency at several concurrencies for the engine
alone, through the gateway and for the naive design, in turns within each round, so that a machine
that grows slower or faster meets all three alike.

    python -m benchmarks.serving [--quick] [--without-naive]
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator, Sequence

from benchmarks.figures import agreement, pooled, spread
from benchmarks.machine import machine, versions
from benchmarks.naive_environment import naive_versions
from benchmarks.options import base_parser, place_of
from benchmarks.pictures import SIZE, Pictures
from benchmarks.processes import BenchmarkError, leave
from benchmarks.report import (
    ENGINE,
    GATEWAY,
    NAIVE,
    Agreement,
    CellReport,
    Ratio,
    Report,
    command_line,
    markdown,
    today,
    write_report,
)
from benchmarks.rounds import CONCURRENCIES, QUESTIONS, Findings, Plan, cold_starts, measure
from benchmarks.subjects import Place
from silkline.models.resolve import resolve_model

MOST_ADDED_MS = 3.0
LEAST_RATE = 0.95
"""The aim: what the gateway may add to the median latency, and what it must leave of the rate."""

_QUICK = Plan(rounds=1, seconds=1.0, warmup_seconds=0.5, starts=1)


def main() -> None:
    """Runs the benchmark and says where it is written; exit code 1 when a request failed."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, leave)
    names = [ENGINE, GATEWAY] + ([] if arguments.without_naive else [NAIVE])
    place = place_of(arguments)
    plan = Plan(arguments.rounds, arguments.seconds, warmup_seconds=1.0, starts=3)
    if arguments.quick:
        plan = _QUICK
    before = machine()
    print("\n".join(f"{name}: {value}" for name, value in before.items()), flush=True)
    Pictures(place.pictures).draw()  # here once, and not in each process that asks
    try:
        starts = cold_starts(names, place, plan)
        findings = measure(names, place, plan)
    except BenchmarkError as error:
        sys.exit(f"benchmark: {error}")
    report = _report(place, plan, before, starts, findings)
    folder = place.cache / "bench-quick" if arguments.quick else arguments.results
    model = report.model.partition("@")[0]
    path = write_report(report, markdown(report), folder, model, report.date, "serving")
    print(f"\n{markdown(report)}\n{verdict(report)}\nwritten to {path} and .json beside it")
    if any(cell.all_rounds.errors for cell in report.cells):
        sys.exit("benchmark: some requests failed; see the column errors")


def compare(findings: Findings, names: Sequence[str]) -> Iterator[Ratio]:
    """The gateway beside each of the others, round by round."""
    for other in (name for name in names if name != GATEWAY):
        for question in QUESTIONS:
            for many in CONCURRENCIES:
                ours = findings.rounds[question, many, GATEWAY]
                theirs = findings.rounds[question, many, other]
                pairs = list(zip(ours, theirs, strict=True))
                rate = spread([mine.rate / max(its.rate, 1e-9) for mine, its in pairs])
                added = spread([mine.p50 - its.p50 for mine, its in pairs])
                yield Ratio(question, many, other, rate, added)


def verdict(report: Report) -> str:
    """Whether the aim is reached, in one line a cell."""
    lines = []
    for one in report.ratios:
        if one.other != ENGINE:
            continue
        met = one.added_ms.median <= MOST_ADDED_MS and one.rate.median >= LEAST_RATE
        lines.append(
            f"{'met' if met else 'NOT met'}: {one.question} x{one.concurrency}: the gateway adds "
            f"{one.added_ms.median:.1f} ms at the median (aim: at most {MOST_ADDED_MS:g}) and "
            f"reaches {one.rate.median:.0%} of the engine's requests per second "
            f"(aim: at least {LEAST_RATE:.0%})"
        )
    return "\n".join(lines)


def _report(
    place: Place,
    plan: Plan,
    before: dict[str, str],
    starts: dict[str, list[float]],
    findings: Findings,
) -> Report:
    names = list(findings.memory)
    manifest = resolve_model(place.model).manifest
    cells = [
        CellReport(*key, pooled(rounds, findings.latencies[key]), rounds)
        for key, rounds in findings.rounds.items()
    ]
    agreements = [
        Agreement((GATEWAY, other), *agreement(findings.texts[GATEWAY], findings.texts[other]))
        for other in names
        if other != GATEWAY
    ]
    settings = {
        "engine": place.engine,
        "pictures": f"JPEG, {SIZE} x {SIZE} pixels, no picture twice in a run",
        "questions": ", ".join(f"{text} ({most} tokens)" for text, most in QUESTIONS.items()),
        "rounds": f"{plan.rounds}, {plan.seconds:g} s a cell after {plan.warmup_seconds:g} s",
    }
    if NAIVE in names:
        settings["naive design"] = naive_versions()
    return Report(
        command=command_line("serving"),
        date=today(),
        machine=before,
        versions=versions(),
        model=f"{manifest.name}@{manifest.revision}",
        settings=settings,
        cold_starts=starts,
        memory=findings.memory,
        cells=cells,
        ratios=list(compare(findings, names)),
        agreements=agreements,
    )


def _arguments() -> argparse.Namespace:
    parser = base_parser("The gateway, the engine alone, a naive design.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="window of each cell")
    parser.add_argument("--quick", action="store_true", help="one short round, to see that it runs")
    parser.add_argument("--without-naive", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
