"""Plays the case: the load, and meanwhile the canary, the kill and the restart."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from benchmarks.headline import held
from benchmarks.headline_report import Side
from benchmarks.processes import BenchmarkError, next_line, started
from benchmarks.shop.load import READY, Answered, Ask, Began, Done, Door, Play
from benchmarks.shop.plan import SLO, WEIGHTS, Phase, Plan
from benchmarks.shop.stack import Stack
from benchmarks.shop.truth import answers_of
from silkline.bench.record import Health, Record, Run
from silkline.bench.spec import Arrivals, Spec, Target, Traffic
from silkline.bench.summary import Summary, summarise

KILLED = 0
"""The gateway that is killed: the one with the largest weight."""

_EXPECTED = msgspec.json.Decoder[Began | Done](Began | Done)


class Load:
    """The process that sends the load."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        """Waits until it takes orders."""
        self._process = process
        self._log = log
        if (line := next_line(process, log)) != READY:
            raise BenchmarkError(f"the load said {line!r}; see {log}")
        self.pid = process.pid

    def run(self, order: Ask | Play, began: Callable[[float], None] = lambda _: None) -> Done:
        """Carries out an order.

        Args:
            order: What to send.
            began: Called with the monotonic second at which its phases begin.
        """
        pipe = self._process.stdin
        if pipe is None:
            raise BenchmarkError("the load has no input")
        pipe.write(msgspec.json.encode(order) + b"\n")
        pipe.flush()
        while True:
            told: Began | Done = _EXPECTED.decode(next_line(self._process, self._log))
            if isinstance(told, Done):
                return told
            began(told.at)


@contextmanager
def load_process(command: Sequence[str | Path], stack: Stack, log: Path) -> Iterator[Load]:
    """Starts the load, which reads the images out of the stack's object store."""
    with started(command, log, stack.objects.variables) as process:
        yield Load(process, log)


@dataclass(frozen=True)
class Played:
    """One open loop.

    Attributes:
        run: Its records, as a load test's.
        answers: All answers.
        summary: The figures.
        zero: Monotonic second at which it began.
        next_new: The first product that is still new.
    """

    run: Run
    answers: list[Answered]
    summary: Summary
    zero: float
    next_new: int

    def side(self) -> Side:
        """The figures, as a step of a search."""
        arrivals = self.run.spec.arrivals
        return Side(arrivals.rate, arrivals.seconds, held(self.summary), self.summary, {})


def play(
    load: Load,
    plan: Plan,
    door: Door,
    phases: tuple[Phase, ...],
    first_new: int,
    file: Path,
    began: Callable[[float], None] = lambda _: None,
) -> Played:
    """Plays phases through a door, and reads the answers."""
    order = Play(
        door=door,
        phases=phases,
        catalogue=plan.catalogue,
        first_new=first_new,
        new=plan.new,
        zipf=plan.zipf,
        seed=plan.seed,
        answers=str(file),
        timeout=plan.timeout,
    )
    zeros: list[float] = []

    def told(at: float) -> None:
        zeros.append(at)
        began(at)

    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    done = load.run(order, told)
    answers = answers_of(file)
    run = _run_of(order, started_at, [one.record for one in answers], done.health)
    return Played(run, answers, summarise(run, 0, SLO), zeros[0], done.next_new)


def part_of(played: Played, begin: float, end: float) -> Summary:
    """The figures of what was due within a part of a run."""
    records = [one for one in played.run.records if begin <= one.intended < end]
    spec = played.run.spec
    arrivals = msgspec.structs.replace(spec.arrivals, seconds=end - begin)
    part = msgspec.structs.replace(
        played.run, records=records, spec=msgspec.structs.replace(spec, arrivals=arrivals)
    )
    return summarise(part, 0, SLO)


class Events:
    """What happens to the stack while the load runs: canary, kill, restart."""

    def __init__(self, stack: Stack, plan: Plan) -> None:
        """Takes the stack and when what is due."""
        self._stack = stack
        self._plan = plan
        self._thread = threading.Thread(target=lambda: None)
        self._zero = 0.0
        self._error: Exception | None = None
        self.told: list[tuple[float, str]] = []
        """What happened: seconds after the beginning, and in words."""

    def begin(self, zero: float) -> None:
        """Begins; `zero` is the monotonic second at which the load begins."""
        self._zero = zero
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Waits for the last event.

        Raises:
            BenchmarkError: One failed.
        """
        self._thread.join()
        if self._error is not None:
            raise BenchmarkError(f"an event failed: {self._error}") from self._error

    def _run(self) -> None:
        plan, stack = self._plan, self._stack
        try:
            self._wait(plan.canary_at)
            self._tell("canary")
            for index in range(len(WEIGHTS)):
                stack.begin_canary(index)
            self._wait(plan.calm_seconds)
            self._tell("sale")
            self._wait(plan.kill_at)
            self._tell("gateway killed")
            stack.kill(KILLED)
            self._wait(plan.restart_at)
            stack.restart(KILLED)
            self._tell("ready again")
            stack.begin_canary(KILLED)  # one that was added at run time ends with its gateway
            self._wait(plan.calm_seconds + plan.sale_seconds)
            self._tell("sale ends")
        except (BenchmarkError, OSError) as error:
            self._error = error

    def _wait(self, at: float) -> None:
        time.sleep(max(0.0, self._zero + at - time.monotonic()))

    def _tell(self, words: str) -> None:
        self.told.append((round(time.monotonic() - self._zero, 1), words))


def _run_of(order: Play, began: str, records: list[Record], health: Health) -> Run:
    rate = order.phases[0].rate
    arrivals = Arrivals(rate, sum(one.seconds for one in order.phases), seed=order.seed)
    traffic = Traffic(catalogue=order.catalogue, zipf=order.zipf, new=order.new)
    spec = Spec((Target("A", order.door.url),), arrivals, traffic)
    return Run(spec, began, "", [health], sorted(records, key=lambda one: one.intended))
