"""The report of `engines`: rates, times and ratios of subjects, and the aims."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from benchmarks.figures import Spread, spread
from benchmarks.machine import machine, versions
from benchmarks.report import command_line

TITLES = {
    "openvino": "Silkline, engine openvino",
    "openvino-up": "Silkline, engine openvino, through `silkline up`",
    "torch": "Silkline, engine torch",
    "torch-up": "Silkline, engine torch, through `silkline up`",
    "genai": "OpenVINO GenAI as it comes, INT8",
    "genai-tuned": "OpenVINO GenAI tuned: Silkline's export and arithmetic",
    "transformers": "transformers `generate`, static batches, float32",
    "vllm": "vLLM's CPU build, bfloat16",
    "llamacpp": "llama.cpp's server",
}
_PEERS = ("genai", "genai-tuned", "transformers", "vllm", "llamacpp")

AIMS = {
    **{("openvino", peer): 1.0 for peer in _PEERS},
    ("torch", "transformers"): 1.2,
    ("torch", "vllm"): 1.2,
}
"""Least ratio of rates, at every number of clients; a first aim for the times to first token."""

_READING = """Medians of the rounds (smallest to largest). Core seconds are those of all processes
of a subject for a request; the client's are not in them."""
_HEAD = (
    "| clients | engine | requests a second | first token, s | further tokens, ms each "
    "| whole answer, s | core seconds |"
)

STAGGERED_AIMS = {("torch", "transformers"): 2.0}


class Cell(NamedTuple):
    """A subject and the number of clients; 0 clients where requests arrive at random."""

    subject: str
    clients: int


class Measured(msgspec.Struct, frozen=True):
    """One burst.

    Attributes:
        seconds: Until the last answer was whole.
        latencies: Seconds of each request.
        first: Seconds to each request's first token.
        tokens: Tokens of each answer.
        computed: Seconds of a core that all processes of the subject took.
        offered: Requests a second that were offered; None for a burst.
    """

    seconds: float
    latencies: list[float]
    first: list[float]
    tokens: list[int]
    computed: float
    offered: float | None = None

    def at(self, rate: float) -> Measured:
        """The same, as found at a rate."""
        return msgspec.structs.replace(self, offered=rate)


class Found(msgspec.Struct, frozen=True):
    """What a subject did in a cell, over its rounds.

    Attributes:
        subject: Its name.
        clients: Requests at once.
        rate: Requests a second.
        first: Median seconds to the first token.
        per_token: Median seconds for each further token.
        latency: Median seconds of a request.
        computed: Seconds of a core for a request, of all processes.
    """

    subject: str
    clients: int
    rate: Spread
    first: Spread
    per_token: Spread
    latency: Spread
    computed: Spread


class Ratio(msgspec.Struct, frozen=True):
    """One subject beside another, round by round.

    Attributes:
        rate: Its rate divided by the other's.
        first: The other's time to first token divided by its own: more is better here too.
    """

    one: str
    other: str
    clients: int
    aim: float
    rate: Spread
    first: Spread


class Report(msgspec.Struct, frozen=True):
    """The whole run; `missing` says why a subject was not measured."""

    command: str
    machine: dict[str, str]
    versions: dict[str, str]
    kind: str
    found: list[Found]
    ratios: list[Ratio]
    missing: dict[str, str]


def report(
    measured: Mapping[Cell, Sequence[Sequence[Measured]]],
    aims: Mapping[tuple[str, str], float],
    kind: str,
    missing: Mapping[str, str],
) -> Report:
    """Figures and ratios of all cells."""
    found = {
        cell: [_figures(cell, [bursts]) for bursts in rounds] for cell, rounds in measured.items()
    }
    ratios = []
    for cell, rounds in found.items():
        for (one, other), aim in aims.items():
            others = found.get(Cell(other, cell.clients))
            if one != cell.subject or others is None:
                continue
            pairs = list(zip(rounds, others, strict=True))
            rate = spread([a.rate.median / b.rate.median for a, b in pairs])
            first = spread([b.first.median / a.first.median for a, b in pairs])
            ratios.append(Ratio(one, other, cell.clients, aim, rate, first))
    return Report(
        command=command_line("engines"),
        machine=machine(),
        versions=versions(),
        kind=kind,
        found=[_figures(cell, rounds) for cell, rounds in measured.items()],
        ratios=ratios,
        missing=dict(missing),
    )


def _figures(cell: Cell, rounds: Sequence[Sequence[Measured]]) -> Found:
    return Found(
        *cell,
        rate=spread([_rate(bursts) for bursts in rounds]),
        first=_medians([[one for burst in bursts for one in burst.first] for bursts in rounds]),
        per_token=_medians(
            [[t for burst in bursts for t in _per_token(burst)] for bursts in rounds]
        ),
        latency=_medians(
            [[one for burst in bursts for one in burst.latencies] for bursts in rounds]
        ),
        computed=spread([_computed(bursts) for bursts in rounds]),
    )


def _medians(rounds: Sequence[Sequence[float]]) -> Spread:
    return spread([statistics.median(values) for values in rounds])


def _rate(bursts: Sequence[Measured]) -> float:
    if bursts[0].offered is not None:
        return bursts[0].offered
    return sum(len(each.tokens) for each in bursts) / sum(each.seconds for each in bursts)


def _computed(bursts: Sequence[Measured]) -> float:
    return sum(each.computed for each in bursts) / sum(len(each.tokens) for each in bursts)


def _per_token(burst: Measured) -> list[float]:
    return [
        (whole - first) / max(1, count - 1)
        for whole, first, count in zip(burst.latencies, burst.first, burst.tokens, strict=True)
    ]


def markdown(made: Report) -> str:
    """The report for people."""
    lines = [f"# Engines side by side: {made.kind}", "", f"`{made.command}`", ""]
    lines += [f"- {name}: {value}" for name, value in {**made.machine, **made.versions}.items()]
    lines += [
        "",
        _READING,
        "",
        _HEAD,
        "|---" * 7 + "|",
    ]
    lines += [
        f"| {each.clients or '-'} | {TITLES[each.subject]} | {each.rate:.2f} "
        f"| {each.first.median:.2f} | {1000 * each.per_token.median:.0f} "
        f"| {each.latency.median:.2f} | {each.computed.median:.2f} |"
        for each in sorted(
            made.found, key=lambda each: (each.clients, list(TITLES).index(each.subject))
        )
    ]
    lines += [
        f"| - | {TITLES[name]} | not measured: {why} | | | | |"
        for name, why in made.missing.items()
    ]
    lines += ["", "| clients | ratio | rate, times | first token, times sooner | aim |"]
    lines += ["|---" * 5 + "|"]
    lines += [
        f"| {each.clients or '-'} | {TITLES[each.one]} / {TITLES[each.other]} "
        f"| {each.rate:.2f} | {each.first:.2f} | {each.aim:g} |"
        for each in made.ratios
    ]
    return "\n".join(lines) + "\n"
