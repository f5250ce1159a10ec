"""The page of a plan: what it takes, how P99 grows with traffic, and what it depends on."""

from __future__ import annotations

from silkline.models.amounts import bytes_text, count_text
from silkline.plan.devices import find_device
from silkline.plan.fleet import p99
from silkline.plan.plan import Choice, Plan
from silkline.plan.sensitivity import variations
from silkline.report.numbers import seconds
from silkline.report.page import render
from silkline.report.plot import Hover, Plot, Series
from silkline.report.svg import Drawing

_POINTS = 60
_NONE = "\N{EM DASH}"


def plan_page(plan: Plan, command: str) -> str:
    """Returns one HTML page that refers to nothing outside.

    Args:
        plan: The plan.
        command: The command that made it.
    """
    best = plan.choices[0] if plan.choices else None
    return render(
        "silkline.plan",
        title=f"Plan for {plan.shape.name}",
        command=command,
        figures=True,
        plan=plan,
        tiles=_tiles(plan, best),
        plot=None if best is None else _load_plot(plan, best),
        memory=[] if best is None else _memory(best),
        choices=[_row(one) for one in plan.choices],
        refusals=[(one.device, f"{one.bits} bits", one.why) for one in plan.refusals],
        changes=[] if best is None else _changes(plan, best),
        sources=[
            (name, find_device(name).source)
            for name in sorted({one.device for one in plan.choices})
        ],
    )


def _tiles(plan: Plan, best: Choice | None) -> list[tuple[str, str, str]]:
    work, gateway = plan.work, plan.gateway
    tiles = [
        ("peak", f"{work.rate * work.peak:,.0f}/s", f"{work.computed:,.0f}/s are computed"),
        ("gateway", f"{gateway.cores} cores", f"{bytes_text(round(gateway.received))}/s in"),
        ("an image", f"{plan.shape.image_tokens} tokens", f"{work.image[0]}x{work.image[1]}"),
        ("model", count_text(plan.shape.parameters), "parameters"),
    ]
    if best is None:
        return [("replicas", _NONE, "no device keeps the P99"), *tiles]
    return [("replicas", str(best.replicas), _named(best)), *tiles]


def _named(one: Choice) -> str:
    cards = f"{one.cards} x " if one.cards > 1 else ""
    return f"{cards}{one.device}, {one.bits} bits"


def _row(one: Choice) -> tuple[str, ...]:
    return (
        _named(one),
        str(one.replicas),
        str(one.timing.batch),
        f"{one.utilisation:.0%}",
        seconds(one.p99),
        seconds(one.timing.prefill),
        seconds(one.timing.step),
        bytes_text(one.memory.total),
        _NONE if one.cost is None else f"{one.cost:,.2f}",
    )


def _memory(best: Choice) -> list[tuple[str, str]]:
    parts = best.memory
    return [
        ("weights", bytes_text(parts.weights)),
        ("keys and values", bytes_text(parts.cache)),
        ("activations of the tower", bytes_text(parts.activations)),
        ("runtime and fragments", bytes_text(parts.overhead)),
        ("a replica", bytes_text(parts.total)),
    ]


def _changes(plan: Plan, best: Choice) -> list[tuple[str, ...]]:
    found = variations(plan.shape, plan.work, find_device(best.device), best.bits, plan.reached)
    return [
        (each.change, _NONE, _NONE)
        if each.choice is None
        else (each.change, str(each.choice.replicas), seconds(each.choice.p99))
        for each in found
    ]


def _load_plot(plan: Plan, best: Choice) -> Plot:
    """P99 of the best choice as traffic grows."""
    title = "P99 as traffic grows"
    about = (
        f"{best.replicas} replicas of {_named(best)}. The line ends where they are too few; the "
        "peak of the plan is marked."
    )
    drawing = Drawing(280, title, about)
    full = best.replicas * best.timing.rate
    rates = [full * number / _POINTS for number in range(1, _POINTS)]
    delays = [p99(best.timing, best.replicas, rate) for rate in rates]
    shown = [
        (rate, delay)
        for rate, delay in zip(rates, delays, strict=True)
        if delay < 4 * plan.work.slo
    ]
    x, y = (
        drawing.x(0, full),
        drawing.y(0, max(plan.work.slo * 1.2, *(delay for _, delay in shown))),
    )
    drawing.y_axis(y, [(tick, seconds(tick)) for tick in y.ticks(6)], "P99")
    drawing.x_axis(x, [(tick, f"{tick:,.0f}") for tick in x.ticks(8)], "computed requests a second")
    drawing.limit(y, plan.work.slo, "SLO")
    drawing.path([(x(rate), y(delay)) for rate, delay in shown], "line a")
    drawing.dot((x(plan.work.computed), y(best.p99)), 5, "fill b")
    series = [Series("P99", "a", [seconds(delay) for _, delay in shown])]
    hover = Hover([x(rate) for rate, _ in shown], [f"{rate:,.0f}/s" for rate, _ in shown], series)
    legend = [("a", "P99"), ("b", "the peak")]
    return Plot(title, about, drawing.render(), legend, hover, "requests a second")
