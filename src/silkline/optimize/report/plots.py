"""The plots of a search: the frontier, and the sensitivity of layers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from silkline.optimize.search.trial import BASELINE, Names, Trial
from silkline.report.numbers import change, mebibytes, seconds
from silkline.report.plot import Hover, Plot, Series
from silkline.report.svg import Drawing

_RADIUS = 6
_SPARE = 1.08
_MAX_BARS = 400


def frontier_plot(
    trials: Sequence[Trial], frontier: Sequence[Names], picked: Names | None
) -> Plot | None:
    """Speed against quality: a dot for each candidate that was asked; None if there is none.

    Args:
        trials: The trials; a dot has the number of its trial in this order.
        frontier: The candidates that no other one beats in everything.
        picked: The optimisations of the bundle.
    """
    asked = [(number, each) for number, each in enumerate(trials) if each.measured]
    if not asked:
        return None
    title = "Speed against quality"
    about = (
        "Each dot is a candidate, with the number that it has in the table; right is faster, up is "
        "better. Whiskers are the 95% interval of its speed on the items that pick."
    )
    drawing = Drawing(360, title, about)
    points = [-100 * trial.drop for _, trial in asked]
    fast = max(trial.speed for _, trial in asked)
    slow = min(trial.speed for _, trial in asked)
    x = drawing.x(max(0.0, slow - 0.1), fast * _SPARE)
    reach = max(1.0, max(points) - min(points))
    y = drawing.y(min(points) - 0.12 * reach, max(points) + 0.12 * reach)
    drawing.y_axis(y, [(tick, f"{tick:+g}") for tick in y.ticks(6)], "points of the main metric")
    drawing.x_axis(x, [(tick, f"{tick:g}x") for tick in x.ticks(8)], "speed")
    for (number, trial), height in zip(asked, points, strict=True):
        style = _style(trial, frontier, picked)
        at = (x(trial.speed), y(height))
        if trial.names != BASELINE and math.isfinite(trial.high):
            drawing.line((x(trial.low), at[1]), (x(trial.high), at[1]), "mark")
        drawing.dot(at, _RADIUS, f"fill {style}")
        drawing.text((at[0] + _RADIUS + 2, at[1] - _RADIUS), str(number), "fine")
    legend = [("b", "picked"), ("a", "on the frontier"), ("grey", "others")]
    return Plot(title, about, drawing.render(), legend, _hover(asked, x), "candidate")


def _style(trial: Trial, frontier: Sequence[Names], picked: Names | None) -> str:
    if trial.names == picked:
        return "b"
    return "a" if trial.names in frontier else "grey"


def _hover(asked: Sequence[tuple[int, Trial]], x: Any) -> Hover:
    ordered = sorted(asked, key=lambda each: each[1].speed)
    trials = [trial for _, trial in ordered]
    return Hover(
        [x(trial.speed) for trial in trials],
        [f"{number}: {trial.label}" for number, trial in ordered],
        [
            Series("speed", "", [f"{trial.speed:.2f}x" for trial in trials]),
            Series("points", "", [change(-trial.drop) for trial in trials]),
            Series("median latency", "", [seconds(trial.seconds) for trial in trials]),
            Series("size", "", [_mib(trial.size) for trial in trials]),
            Series("peak memory", "", [_mib(trial.memory) for trial in trials]),
        ],
    )


def sensitivity_plot(name: str, layers: Sequence[Mapping[str, Any]]) -> Plot | None:
    """How much the answers change when one layer alone is quantised; None without layers.

    Args:
        name: The optimisation that measured it.
        layers: By layer: its `layer`, its `divergence` and whether it is `kept` in high precision.
    """
    shown = [each for each in layers if each["divergence"] > 0][:_MAX_BARS]
    if not shown:
        return None
    title = "Sensitivity of the layers"
    about = (
        f"{name}: the mean divergence of the next token's distribution from the exact model's, in "
        "nats, when one layer alone is quantised."
    )
    drawing = Drawing(280, title, about)
    values = [float(each["divergence"]) for each in shown]
    x = drawing.x(0, len(shown))
    y = drawing.y(min(values) / 2, max(values) * 1.5, log=True)
    drawing.y_axis(y, [(tick, f"{tick:g}") for tick in y.ticks(6)], "nats")
    width = x(1) - x(0)
    for index, (each, value) in enumerate(zip(shown, values, strict=True)):
        top = y(value)
        box = (x(index) + width * 0.1, top, width * 0.8, drawing.bottom - top)
        drawing.rect(box, f"fill {'b' if each['kept'] else 'a'}", str(each["layer"]))
    middles = [x(index + 0.5) for index in range(len(shown))]
    texts = [f"{value:.2e}" for value in values]
    kept = ["8 bits" if each["kept"] else "4 bits" for each in shown]
    series = [Series("divergence", "a", texts), Series("quantised to", "", kept)]
    hover = Hover(middles, [str(each["layer"]) for each in shown], series)
    legend = [("a", "quantised"), ("b", "kept in 8 bits")]
    return Plot(title, about, drawing.render(), legend, hover, "layer")


def _mib(count: int | None) -> str:
    return "unknown" if count is None else mebibytes(count)
