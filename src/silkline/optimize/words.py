"""What a gate's verdict says, on the terminal and in the page alike."""

from __future__ import annotations

from collections.abc import Sequence

from silkline.bench.summary import Summary
from silkline.models.gate import GateRecord, Verdict
from silkline.report.numbers import span

HEADLINES = {
    Verdict.PASSED: "Passed: every requirement holds",
    Verdict.REFUSED: "Refused: a requirement does not hold",
    Verdict.UNDECIDED: "Undecided: too little was measured to tell",
}

LOAD_HEADS = ("under load", "A, the baseline", "B, the candidate")


def load_rows(load: Sequence[Summary]) -> list[tuple[str, str, str]]:
    """Figures of both sides under load, a row each; none if nothing was loaded."""
    if not load:
        return []
    rows = {
        "requests": [f"{each.requests:,}" for each in load],
        "answers per second": [f"{each.per_second(each.served):.2f}" for each in load],
        "failed": [f"{each.requests - each.served:,}" for each in load],
        "latency P50": [span(each.latency.p50) for each in load],
        "latency P90": [span(each.latency.p90) for each in load],
        "latency P99": [span(each.latency.p99) for each in load],
        "first token P50": [span(each.first_token.p50) for each in load],
        "first token P99": [span(each.first_token.p99) for each in load],
    }
    return [(name, first, second) for name, (first, second) in rows.items()]


def versions_line(record: GateRecord) -> str:
    """The versions, in one line."""
    return ", ".join(f"{name} {version}" for name, version in sorted(record.versions.items()))
