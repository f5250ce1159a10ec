"""The rounds: every subject does every cell in turn, again and again."""

from __future__ import annotations

from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, field

from benchmarks.closed_loop import Cell, Measured
from benchmarks.figures import OK, Figures, figures, latencies_ms
from benchmarks.processes import cpu_seconds, resident_bytes
from benchmarks.report import Memory
from benchmarks.subjects import SERVERS, Place, Subject, subject

QUESTIONS = {"What is this?": 16, "Describe this product.": 64}
"""Prompts with the most tokens of their answers: a short answer and a sentence."""

CONCURRENCIES = (1, 4, 16)
_PICTURES_A_CELL = 4000
_FIRST_GUESS = 1200
"""Pictures made ready for a subject's first cell; later ones go by its rate."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to measure.

    Attributes:
        rounds: How often each cell is measured.
        seconds: Length of a cell's window.
        warmup_seconds: Before the window.
        starts: How often each server is started cold.
    """

    rounds: int
    seconds: float
    warmup_seconds: float
    starts: int


@dataclass(slots=True)
class Findings:
    """What has been measured so far; a cell's key is question, concurrency and subject."""

    rounds: dict[tuple[str, int, str], list[Figures]] = field(
        default_factory=lambda: defaultdict(list)
    )
    latencies: dict[tuple[str, int, str], list[float]] = field(
        default_factory=lambda: defaultdict(list)
    )
    texts: dict[str, dict[int, str]] = field(default_factory=lambda: defaultdict(dict))
    memory: dict[str, Memory] = field(default_factory=dict)

    def add(self, key: tuple[str, int, str], measured: Measured, cpu: dict[str, float]) -> Figures:
        """Takes a cell in."""
        found = figures(measured, cpu)
        self.rounds[key].append(found)
        self.latencies[key] += latencies_ms(measured)
        good = [asked for asked in measured.asked if asked.reply.status == OK]
        self.texts[key[2]].update({asked.picture: asked.reply.text for asked in good})
        return found


def cold_starts(names: list[str], place: Place, plan: Plan) -> dict[str, list[float]]:
    """Seconds from the start of the process until it is ready, for each server and run."""
    seconds: dict[str, list[float]] = defaultdict(list)
    for _ in range(plan.starts):
        for name in names:
            if name in SERVERS:
                with SERVERS[name](place) as server:
                    seconds[name].append(server.seconds)
                print(f"cold start, {name}: {server.seconds:.2f} s", flush=True)
    return dict(seconds)


def measure(names: list[str], place: Place, plan: Plan) -> Findings:
    """Runs all rounds with all subjects up at the same time, one of them at work."""
    findings = Findings()
    cells = [(question, many) for question in QUESTIONS for many in CONCURRENCIES]
    with ExitStack() as stack:
        subjects = [stack.enter_context(subject(name, place)) for name in names]
        for number in range(plan.rounds):
            for place_in_round, (question, many) in enumerate(cells):
                first = (number * len(cells) + place_in_round) * _PICTURES_A_CELL
                turn = number % len(subjects)  # who goes first changes with the round
                for one in subjects[turn:] + subjects[:turn]:
                    key = question, many, one.name
                    cell = _cell(key, plan, first, findings.rounds[key])
                    found = _run(one, cell, key, findings)
                    print(
                        f"round {number + 1}, {question} x{many:<2} {one.name:12} "
                        f"{found.rate:7.1f}/s  P50 {found.p50:7.1f} ms  "
                        f"P99 {found.p99:7.1f} ms  errors {found.errors}",
                        flush=True,
                    )
        for one in subjects:
            findings.memory[one.name] = Memory(*resident_bytes(one.pid))
    return findings


def _run(one: Subject, cell: Cell, key: tuple[str, int, str], findings: Findings) -> Figures:
    before = cpu_seconds(one.pid)
    measured = one.driver.run(cell)
    after = cpu_seconds(one.pid)
    cpu = {name: seconds - before.get(name, 0.0) for name, seconds in after.items()}
    if one.pid == one.driver.pid:  # it also made the pictures, which is not the subject's work
        cpu = dict.fromkeys(cpu, measured.cpu_seconds)
    return findings.add(key, measured, cpu)


def _cell(key: tuple[str, int, str], plan: Plan, first: int, known: list[Figures]) -> Cell:
    """A cell with enough pictures for its time, by the rates that were seen before."""
    question, many, _ = key
    pictures = _FIRST_GUESS
    if known:
        seconds = plan.warmup_seconds + plan.seconds
        pictures = int(2 * max(one.rate for one in known) * seconds) + 4 * many
    return Cell(
        prompt=question,
        max_tokens=QUESTIONS[question],
        concurrency=many,
        warmup_seconds=plan.warmup_seconds,
        seconds=plan.seconds,
        first_picture=first,
        pictures=min(pictures, _PICTURES_A_CELL),
    )
