"""One run: stock, warm-up, the case, the checks, the search, and the guide's own design."""

from __future__ import annotations

import os
import random
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack

import msgspec

from benchmarks.headline import highest
from benchmarks.headline_report import Side
from benchmarks.machine import machine, versions
from benchmarks.naive_environment import naive_versions
from benchmarks.report import command_line, today
from benchmarks.shop.case import Events, Load, Played, load_process, part_of, play
from benchmarks.shop.load import CHAT, PREDICT, Answered, Ask, Door
from benchmarks.shop.meter import Meter, Prometheus
from benchmarks.shop.plan import WEIGHTS, Phase, Plan
from benchmarks.shop.products import stock
from benchmarks.shop.report import Other, PhaseFound, Report
from benchmarks.shop.servers import redis_server
from benchmarks.shop.stack import Stack
from benchmarks.shop.truth import Judged, answers_of, judge, right_share, unseen
from benchmarks.subjects import Place, naive
from examples.shop.generated import Drawn
from examples.shop.images import Images
from examples.shop.tables import Tables
from silkline.models.resolve import resolve_model

_CLIENTS = 8
_ASK_SECONDS = 60.0
_LONG_SALE = 60.0
_SCRAPE_SECONDS, _QUICK_SCRAPE_SECONDS = 5, 1


class Whole:
    """One run."""

    def __init__(self, place: Place, plan: Plan) -> None:
        """Takes where things are and what is played."""
        self._place = place
        self._plan = plan
        self._work = place.cache / "bench-shop"
        is_long = plan.sale_seconds >= _LONG_SALE
        self._scrape = _SCRAPE_SECONDS if is_long else _QUICK_SCRAPE_SECONDS
        self._drawn: list[Drawn] = []

    def run(self, *, with_naive: bool) -> tuple[Report, Played]:
        """Runs everything; gives the report, and the run whose records its page shows.

        Raises:
            BenchmarkError: A part did not start or ended early.
        """
        shutil.rmtree(self._work, ignore_errors=True)
        self._work.mkdir(parents=True)
        about = machine()
        with ExitStack() as outer:
            made = Stack(self._work / "stack", self._plan, self._place.engine, self._place.model)
            with made.running(self._scrape) as stack:
                load = self._stocked(stack, outer)
                report, played = self._gateways(stack, load)
            if with_naive:
                report = msgspec.structs.replace(report, naive=self._naive(load))
                about["guide's design"] = naive_versions()
        return msgspec.structs.replace(report, machine=about | versions()), played

    def _stocked(self, stack: Stack, outer: ExitStack) -> Load:
        """Fills table and store, and starts the load, which outlives the stack."""
        plan = self._plan
        count = plan.catalogue + plan.new_products()
        _tell(f"drawing {count} products")
        os.environ.update(stack.objects.variables)
        url = stack.objects.images_url()
        tables = Tables(f"sqlite:///{self._work}/shop.sqlite")
        pictures = self._place.cache / "bench-pictures"
        self._drawn = stock(count, pictures, tables, Images(url), plan.planted)
        tables.close()
        digests = self._work / "digests"
        digests.write_text("\n".join(one.product.image for one in self._drawn))
        command = [sys.executable, "-m", "benchmarks.shop.load", str(digests), url]
        return outer.enter_context(load_process(command, stack, self._work / "load.log"))

    def _gateways(self, stack: Stack, load: Load) -> tuple[Report, Played]:
        plan, door = self._plan, Door(stack.balancer.url)
        warm = self._ask(load, door, range(plan.warm), "warm")
        _tell(f"{len(warm)} products asked for; the case follows: {plan.seconds:g} s")
        events = Events(stack, plan)
        with Meter(lambda: stack.pids | {"load": load.pid}) as meter:
            before = meter.memory()
            file = self._work / "answers.jsonl"
            played = play(load, plan, door, plan.phases, plan.catalogue, file, events.begin)
            events.end()
            after = meter.memory()
            canary = [stack.canary(index) for index in range(len(WEIGHTS))]
            time.sleep(self._scrape + 1)  # the last scrape
        watched = _Watched(stack, played)
        report = Report(
            command=command_line("shop"),
            date=today(),
            machine={},
            model=_model_name(self._place.model),
            plan=plan,
            phases=list(self._phases(watched, meter, played)),
            whole=played.summary,
            resent=sum(one.attempts > 1 for one in played.answers),
            judged=self._judged(stack, load, [*warm, *played.answers]),
            tiers=watched.tiers(),
            scrapes_missed=watched.missed(),
            events=events.told,
            canary=canary,
            memory={name: (before[name], after[name]) for name in before},
            left_behind=stack.left_behind,
            steps=self._search(load, door, played.next_new, plan.sale_rate, "gateways"),
            naive=None,
        )
        return report, played

    def _phases(self, watched: _Watched, meter: Meter, played: Played) -> list[PhaseFound]:
        found, begin = [], 0.0
        for phase in self._plan.phases:
            end = begin + phase.seconds
            used = meter.between(played.zero + begin, played.zero + end)
            cores = {name: seconds / phase.seconds for name, seconds in used.items()}
            summary = part_of(played, begin, end)
            found.append(PhaseFound(phase.name, summary, cores, watched.busy(begin, end)))
            begin = end
        return found

    def _judged(self, stack: Stack, load: Load, answers: Sequence[Answered]) -> Judged:
        """Checks the answers, some of them beside the model without caches."""
        asked = sorted({one.record.image for one in answers})
        chance = random.Random(self._plan.seed)
        sample = chance.sample(asked, min(self._plan.sample, len(asked)))
        numbers = sorted({*sample, *unseen(answers)})
        _tell(f"asking the model alone about {len(numbers)} products")
        door = Door(stack.owner.url, CHAT, {"cache-control": "no-store"})
        return judge(answers, self._ask(load, door, numbers, "alone"), self._drawn)

    def _ask(self, load: Load, door: Door, numbers: Sequence[int], name: str) -> list[Answered]:
        file = self._work / f"{name}.jsonl"
        load.run(Ask(door, list(numbers), _CLIENTS, str(file), _ASK_SECONDS))
        return answers_of(file)

    def _search(self, load: Load, door: Door, first_new: int, rate: float, name: str) -> list[Side]:
        """Looks for the highest load that is held."""
        plan, fresh = self._plan, first_new

        def step(rate: float) -> Side:
            nonlocal fresh
            phases = (Phase("step", rate, plan.step_seconds),)
            played = play(load, plan, door, phases, fresh, self._work / "step.jsonl")
            fresh = played.next_new
            side = played.side()
            told, p99 = "held" if side.held else "not held", side.summary.latency.p99
            _tell(f"{name} at {rate:.0f}/s: {told}, P99 {p99 * 1000:.0f} ms")
            return side

        return highest(step, rate)

    def _naive(self, load: Load) -> Other:
        """The guide's own design: the same products, the same warm-up, the same loads."""
        plan = self._plan
        with (
            redis_server(self._work) as redis,
            naive(self._place, ["--redis", redis.url]) as server,
        ):
            door = Door(server.url, PREDICT)
            self._ask(load, door, range(plan.warm), "naive-warm")
            fresh, answers, sides = plan.catalogue, [], []
            for rate, seconds in (
                (plan.rate, plan.naive_seconds),
                (plan.sale_rate, plan.step_seconds),
            ):
                phases = (Phase("naive", rate, seconds),)
                file = self._work / "naive.jsonl"
                played = play(load, plan, door, phases, fresh, file)
                fresh = played.next_new
                answers += played.answers
                sides.append(played.side())
                p99 = played.summary.latency.p99
                _tell(f"the guide's design at {rate:.0f}/s: P99 {p99 * 1000:.0f} ms")
            steps = self._search(load, door, fresh, plan.first_step, "the guide's design")
        return Other(sides[0], sides[1], steps, right_share(answers, self._drawn))


class _Watched:
    """What Prometheus saw of a run."""

    def __init__(self, stack: Stack, played: Played) -> None:
        self._prometheus = Prometheus(stack.prometheus.url)
        self._seconds = played.summary.seconds
        self._owner = stack.owner.url.partition("//")[2]
        self._begin = played.zero + time.time() - time.monotonic()

    def busy(self, begin: float, end: float) -> dict[str, float]:
        """Share of a part of the run in which each model's worker had a request."""
        query = (
            f'sum by (model) (rate(silkline_replica_busy_seconds_total{{instance="{self._owner}"}}'
            f"[{end - begin:.0f}s]))"
        )
        return self._prometheus.values(query, self._begin + end, "model")

    def tiers(self) -> dict[str, float]:
        """Reads of the cache by tier and outcome."""
        counted = f"increase(silkline_cache_reads_total[{self._seconds:.0f}s])"
        query = f"sum by (tier, outcome) ({counted})"
        return self._at_end(query, "tier", "outcome")

    def missed(self) -> dict[str, float]:
        """Scrapes that failed, by gateway."""
        window = f"[{self._seconds:.0f}s]"
        return self._at_end(f"count_over_time(up{window}) - sum_over_time(up{window})", "instance")

    def _at_end(self, query: str, *labels: str) -> dict[str, float]:
        return self._prometheus.values(query, self._begin + self._seconds, *labels)


def _model_name(model: str) -> str:
    manifest = resolve_model(model).manifest
    return f"{manifest.name}@{manifest.revision}"


def _tell(words: str) -> None:
    print(words, flush=True)
