"""The table of the comparison."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence

from benchmarks.gateways.measure import Found, Plan
from benchmarks.gateways.peers import DIRECT

_HEAD = (
    *("clients", "gateway", "requests/s", "P50, ms", "P99, ms", "added P50, ms", "added P99, ms"),
    *("processor, ms a request", "memory, MB", "load, share of a core", "errors"),
)
_MB = 1_000_000


def markdown(about: Mapping[str, str], plan: Plan, found: Sequence[Found]) -> str:
    """The report for people: medians over the rounds; added latency is that over `direct`."""
    return "\n".join(_lines(about, plan, found)) + "\n"


def _lines(about: Mapping[str, str], plan: Plan, found: Sequence[Found]) -> Iterator[str]:
    yield from (f"- {name}: {value}" for name, value in about.items())
    yield f"- {plan.rounds} rounds of {plan.seconds:g} s after {plan.warmup_seconds:g} s; medians"
    for workload in plan.workloads:
        yield from ("", f"## {workload}", "", _row(_HEAD), _row(["---"] * len(_HEAD)))
        for clients in plan.clients:
            cells = [
                over_rounds(
                    [
                        one
                        for one in found
                        if (one.workload, one.clients, one.peer) == (workload, clients, peer)
                    ]
                )
                for peer in plan.peers
            ]
            direct = next((cell for cell in cells if cell.peer == DIRECT), None)
            yield from (_row(_cells(cell, direct)) for cell in cells)


def over_rounds(rounds: Sequence[Found]) -> Found:
    """The rounds of one cell as one: medians, and the sums of requests and errors."""

    def median(name: str) -> float:
        return float(statistics.median(getattr(one, name) for one in rounds))

    return Found(
        workload=rounds[0].workload,
        clients=rounds[0].clients,
        peer=rounds[0].peer,
        requests=sum(one.requests for one in rounds),
        errors=sum(one.errors for one in rounds),
        rate=median("rate"),
        p50=median("p50"),
        p99=median("p99"),
        cpu_ms=median("cpu_ms"),
        memory_bytes=round(median("memory_bytes")),
        load_share=median("load_share"),
    )


def _cells(cell: Found, direct: Found | None) -> list[str]:
    base = cell if direct is None else direct
    is_peer = cell.peer != DIRECT
    compared = is_peer and direct is not None
    return [
        str(cell.clients),
        cell.peer,
        f"{cell.rate:.0f}",
        f"{cell.p50:.1f}",
        f"{cell.p99:.1f}",
        f"{cell.p50 - base.p50:.1f}" if compared else "",
        f"{cell.p99 - base.p99:.1f}" if compared else "",
        f"{cell.cpu_ms:.2f}" if is_peer else "",
        f"{cell.memory_bytes / _MB:.0f}" if is_peer else "",
        f"{cell.load_share:.0%}",
        str(cell.errors),
    ]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
