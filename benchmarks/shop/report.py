"""What one run found, and its Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from benchmarks.headline_report import Side
from benchmarks.shop.plan import SLO, WEIGHTS, Plan
from benchmarks.shop.truth import Judged
from silkline.bench.summary import Percentiles, Summary

GUIDE_BUSY = 0.75
"""Utilisation that the guide plans with."""

_ATTAINMENT, _P99_TIMES, _RATE_TIMES = 0.999, 5.5, 5.0


class PhaseFound(msgspec.Struct, frozen=True):
    """What was found in one phase.

    Attributes:
        name: The phase.
        summary: Its figures.
        cores: Processor cores that each part took.
        busy: Share of the time in which the worker of each model had a request.
    """

    name: str
    summary: Summary
    cores: dict[str, float]
    busy: dict[str, float]


class Other(msgspec.Struct, frozen=True):
    """The guide's own design, with the same requests.

    Attributes:
        base: At the base rate.
        sale: At the sale's rate.
        steps: The search for the highest load that it holds.
        right: Share of its answers that equal the image's truth.
    """

    base: Side
    sale: Side
    steps: list[Side]
    right: float


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one run found.

    Attributes:
        command: How it was started.
        date: ISO 8601.
        machine: What it ran on.
        model: Name and revision.
        plan: What was played.
        phases: Each phase.
        whole: All phases together.
        resent: Requests that were sent more than once.
        judged: The check of the answers.
        tiers: Reads of the cache by tier and outcome, as Prometheus counted them.
        scrapes_missed: Scrapes that failed, by gateway.
        events: What happened: seconds after the start, and in words.
        canary: What each gateway says about the experiment at the end.
        memory: Bytes of each part (PSS) before and after.
        left_behind: Processes of the killed gateway that outlived it.
        steps: The search for the highest load that the gateways hold.
        naive: The guide's own design; None where it was left out.
    """

    command: str
    date: str
    machine: dict[str, str]
    model: str
    plan: Plan
    phases: list[PhaseFound]
    whole: Summary
    resent: int
    judged: Judged
    tiers: dict[str, float]
    scrapes_missed: dict[str, float]
    events: list[tuple[float, str]]
    canary: list[dict[str, Any]]
    memory: dict[str, tuple[int, int]]
    left_behind: int
    steps: list[Side]
    naive: Other | None

    @property
    def lost(self) -> int:
        """Requests that were never answered."""
        return self.whole.requests - self.whole.served

    @property
    def cost_per_million(self) -> float:
        """Price of a million answers at this run's mean load, in the price's currency."""
        hours = self.whole.seconds / 3600
        return self.plan.machine_price * hours / max(1, self.whole.served) * 1e6

    def phase(self, name: str) -> PhaseFound:
        """The phase of a name."""
        return next(one for one in self.phases if one.name == name)


def highest_held(steps: list[Side]) -> float:
    """The highest load that was held, in requests a second; 0 if none was."""
    return max((step.rate for step in steps if step.held), default=0.0)


def aims(report: Report) -> list[list[str]]:
    """Each aim: in words, the aim, what was found, and whether it was reached."""
    whole, judged = report.whole, report.judged
    rows = [
        _aim("P99 through sale, kill and canary", "at most 420 ms",
             _ms(whole.latency.p99), whole.latency.p99 <= SLO),
        _aim("answered within 420 ms", "at least 99.9%",
             f"{whole.goodput:.3%}", whole.goodput >= _ATTAINMENT),
        _aim("lost requests", "0", str(report.lost), report.lost == 0),
        _aim("wrong answers", "0", str(judged.wrong), judged.wrong == 0),
    ]  # fmt: skip
    if (naive := report.naive) is not None:
        for name, other in (("before", naive.base), ("sale", naive.sale)):
            ours = report.phase(name).summary.latency.p99
            times = other.summary.latency.p99 / max(ours, 1e-9)
            words = f"P99 beside the guide's design at {other.rate:.0f}/s, times better"
            rows.append(
                _aim(words, f"at least {_P99_TIMES:g}", f"{times:.1f}", times >= _P99_TIMES)
            )
        times = highest_held(report.steps) / max(highest_held(naive.steps), 1e-9)
        words = "load held beside the guide's design, times"
        rows.append(_aim(words, f"at least {_RATE_TIMES:g}", f"{times:.1f}", times >= _RATE_TIMES))
    return rows


def markdown(report: Report) -> str:
    """The report as Markdown."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    plan = report.plan
    yield from (f"# The shop, {report.model}, {report.date}", "", f"    {report.command}", "")
    yield from (f"- {name}: {value}" for name, value in report.machine.items())
    yield f"- {sentence(plan)}"
    yield from ("", *table(["aim", "wanted", "found", "reached"], aims(report)))
    yield from ("", "## Phases", "", *table(PHASE_HEAD, phase_rows(report)), "")
    yield "Latency counts from the time at which a request was due; sending again is part of it."
    yield from ("", "## What happened", "")
    yield from (f"- {at:g} s: {words}" for at, words in report.events)
    yield from (f"- {line}" for line in notes(report))
    yield from ("", "## Answers", "", *table(["", ""], judged_rows(report.judged)))
    yield from ("", "## Cores by part", "", *table(*parts(report)))
    yield from ("", "## Cache", "", *table(["tier", "reads", "hits", ""], tier_rows(report)))
    yield from ("", "## By cache state and stage, ms", "")
    yield from table(["", "n", "P50", "P90", "P99", "P99.9", "max"], state_rows(report.whole))
    yield from ("", "## Highest load held", "", *table(STEP_HEAD, step_rows(report)))


def sentence(plan: Plan) -> str:
    """What was played, in words."""
    return (
        f"{plan.rate:g} requests/s, in the sale {plan.sale_rate:g}/s for {plan.sale_seconds:g} s; "
        f"Zipf({plan.zipf:g}) over {plan.catalogue} products, {plan.new:.0%} of the requests about "
        f"new ones; chat requests with a JSON schema and an image of 256 x 256 pixels; "
        f"{plan.warm} products asked for before; gateways weighted "
        f"{':'.join(map(str, WEIGHTS))}; canary on {plan.canary_share:.0%} of the products"
    )


PHASE_HEAD = [
    *("", "requests/s", "requests", "lost", "in time", "P50, ms", "P90", "P99", "P99.9", "max"),
    *("from a cache", "cores", "engine busy"),
]


def phase_rows(report: Report) -> list[list[str]]:
    """The phases, and the whole."""
    rows = []
    for one in report.phases:
        cores = sum(value for name, value in one.cores.items() if name != "load")
        busy = max(one.busy.values(), default=0.0)
        rows.append([*_figures(one.name, one.summary), f"{cores:.2f}", f"{busy:.0%}"])
    return [*rows, [*_figures("whole", report.whole), "", ""]]


def _figures(name: str, found: Summary) -> list[str]:
    hits = found.served - sum(
        found.by_cache[state].count for state in ("miss", "bypass") if state in found.by_cache
    )
    return [
        name,
        f"{found.per_second(found.requests):.1f}",
        str(found.requests),
        str(found.requests - found.served),
        f"{found.goodput:.3%}",
        *percentile_texts(found.latency),
        f"{hits / max(1, found.served):.1%}",
    ]


def notes(report: Report) -> Iterator[str]:
    """What does not fit into a table."""
    plan, whole = report.plan, report.whole
    yield f"{report.resent} requests were sent again, {report.lost} were lost"
    for failure in whole.failures:
        yield f"failed: {failure.count} x {failure.status} {failure.code}"
    yield (
        f"a million answers cost {report.cost_per_million:.2f} at {plan.machine_price:g} an hour "
        f"for the machine and {whole.per_second(whole.served):.0f} answers/s"
    )
    yield f"{report.left_behind} processes outlived the killed gateway"
    for name, count in report.scrapes_missed.items():
        if count >= 1:
            yield f"Prometheus missed {count:.0f} scrapes of {name}"
    for index, status in enumerate(report.canary):
        arms = status.get("arms", {})
        counts = ", ".join(f"{arm} {one.get('requests')}" for arm, one in arms.items())
        yield f"canary on gateway {index}: {status.get('serving')}, requests: {counts}"
    for name, (before, after) in report.memory.items():
        yield f"memory of {name}: {before / 2**20:.0f} MiB before, {after / 2**20:.0f} after"
    late = whole.generator.lateness
    yield f"load: {whole.generator.cpu:.0%} of a core, sent late by P99 {_ms(late.p99)}"


def judged_rows(judged: Judged) -> list[list[str]]:
    """The check of the answers."""
    return [
        ["answers checked", str(judged.answers)],
        ["products", str(judged.products)],
        ["records right in all attributes", f"{judged.right:.2%} of the answers"],
        ["products compared with the model alone", str(judged.sampled)],
        ["right of these", f"{judged.right_of_sample:.2%}"],
        ["of the model's own answers about these", f"{judged.right_alone:.2%}"],
        ["answers that differ from the model alone", str(judged.differing)],
        ["answers that the shop cannot read", str(judged.invalid)],
        ["answers from a cache", str(judged.from_cache)],
        ["of these unequal to the computed answer", str(judged.unequal)],
        ["of these without a known computed answer", str(judged.unseen)],
        ["products computed more than once", str(judged.recomputed)],
        ["of these with different texts", str(judged.unstable)],
        ["products published", str(judged.published)],
        ["of these with an attribute that the image contradicts", str(judged.published_wrong)],
        ["products with a planted wrong value", str(judged.planted)],
        ["of these held back for an editor", str(judged.flagged)],
    ]  # fmt: skip


def parts(report: Report) -> tuple[list[str], list[list[str]]]:
    """Cores that each part took, by phase."""
    names = list(report.phases[0].cores)
    rows = [
        [name, *(f"{phase.cores.get(name, 0.0):.2f}" for phase in report.phases)] for name in names
    ]
    total = [f"{sum(phase.cores.values()):.2f}" for phase in report.phases]
    return ["", *(phase.name for phase in report.phases)], [*rows, ["together", *total]]


def tier_rows(report: Report) -> list[list[str]]:
    """Reads and hits of each tier of the cache."""
    tiers = list(dict.fromkeys(name.split(" ")[0] for name in report.tiers))
    rows = []
    for tier in tiers:
        reads = sum(n for name, n in report.tiers.items() if name.split(" ")[0] == tier)
        hits = report.tiers.get(f"{tier} hit", 0.0)
        rows.append([tier, f"{reads:.0f}", f"{hits:.0f}", f"{hits / max(1.0, reads):.1%}"])
    return rows


def state_rows(found: Summary) -> list[list[str]]:
    """Latency by cache state and by stage, in milliseconds."""
    shown = {f"cache {name}": values for name, values in found.by_cache.items()}
    shown |= {f"stage {name}": values for name, values in found.by_stage.items()}
    return [[name, str(one.count), *percentile_texts(one)] for name, one in shown.items()]


STEP_HEAD = ["", "requests/s", "held", "P50, ms", "P90", "P99", "P99.9", "max", "lost"]


def step_rows(report: Report) -> list[list[str]]:
    """The steps of both searches."""
    rows = [_step("gateways", step) for step in report.steps]
    if (naive := report.naive) is not None:
        rows += [
            _step("guide's design at the base rate", naive.base),
            _step("guide's design at the sale's rate", naive.sale),
            *(_step("guide's design", step) for step in naive.steps),
        ]
    return rows


def _step(name: str, step: Side) -> list[str]:
    found = step.summary
    lost = str(found.requests - found.served)
    told = "yes" if step.held else "no"
    return [name, f"{step.rate:.0f}", told, *percentile_texts(found.latency), lost]


def percentile_texts(found: Percentiles) -> list[str]:
    """P50 to the maximum, in milliseconds."""
    values = (found.p50, found.p90, found.p99, found.p999, found.maximum)
    return [f"{value * 1000:.1f}" for value in values]


def table(head: list[str], rows: list[list[str]]) -> Iterator[str]:
    """A table in Markdown."""
    for cells in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(cells)} |"


def _aim(words: str, wanted: str, found: str, reached: bool) -> list[str]:  # noqa: FBT001
    return [words, wanted, found, "yes" if reached else "NO"]


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
