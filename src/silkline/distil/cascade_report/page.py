"""Puts the page of a fitted cascade together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from silkline.distil.fit import Fitted
from silkline.report.numbers import seconds
from silkline.report.page import render
from silkline.report.plot import SIDES, Hover, Plot, Series
from silkline.report.svg import Drawing

if TYPE_CHECKING:
    from silkline.distil.cascade import CascadeFit


def page(result: CascadeFit) -> str:
    """The report of a fit: HTML without a reference to anything outside."""
    fitted, chosen = result.fitted, result.fitted.chosen
    small, large = result.seconds
    return render(
        "silkline.distil.cascade_report",
        title=f"A cascade of {result.small} and {result.large}",
        command="silkline cascade fit",
        figures=True,
        result=result,
        tiles_of=[
            ("Escalates", f"{chosen.escalated:.1%}", "of the questions"),
            ("Score", f"{chosen.quality:.2%}", f"at least {chosen.low:.2%}"),
            ("Engine time", f"{result.compute:.0%}", "of the large model's"),
            ("Threshold", f"{chosen.threshold:.4f}", f"where {fitted.chance:.1%} are right"),
        ],
        rows=[
            (result.small, f"{fitted.small:.2%}", seconds(small)),
            (result.large, f"{fitted.large:.2%}", seconds(large)),
            ("the cascade", f"{chosen.quality:.2%}", f"{result.compute:.0%} of the large model's"),
        ],
        plots=[_levels(fitted), _calibration(fitted)],
    )


def _levels(fitted: Fitted) -> Plot:
    title, about = (
        "Score by the share that escalates",
        (
            "Each threshold that was tested, from the highest on. The lower line is the lower end "
            "of its interval; testing ended where that fell below the score to keep."
        ),
    )
    levels = fitted.levels[::-1]
    drawing = Drawing(280, title, about)
    values = [[level.quality for level in levels], [level.low for level in levels]]
    floor = min(*values[1], fitted.wanted, fitted.small)
    x = drawing.x(0, 1)
    y = drawing.y(floor - 0.005, max(*values[0], fitted.large) + 0.005)
    drawing.y_axis(y, [(tick, f"{tick:.1%}") for tick in y.ticks(5)], "score")
    drawing.x_axis(x, [(tick, f"{tick:.0%}") for tick in x.ticks(10)], "escalated")
    drawing.limit(y, fitted.wanted, f"to keep: {fitted.wanted:.2%}")
    at = [x(level.escalated) for level in levels]
    shown = []
    for name, line, colour in zip(("score", "lower end"), values, SIDES, strict=True):
        drawing.path(zip(at, map(y, line), strict=True), f"line {colour}")
        shown.append(Series(name, colour, [f"{value:.2%}" for value in line]))
    shown.append(Series("threshold", "", [f"{level.threshold:.4f}" for level in levels]))
    labels = [f"{level.escalated:.1%}" for level in levels]
    legend = [(SIDES[0], "score"), (SIDES[1], "lower end")]
    return Plot(title, about, drawing.render(), legend, Hover(at, labels, shown), "escalated")


def _calibration(fitted: Fitted) -> Plot:
    title, about = (
        "How sure, and how right",
        (
            "The share of the small model's answers that are right, by the probability of their "
            "least likely token: isotonic regression."
        ),
    )
    drawing = Drawing(280, title, about)
    x, y = drawing.x(0, 1), drawing.y(0, 1)
    drawing.y_axis(y, [(tick, f"{tick:.0%}") for tick in y.ticks(5)], "right")
    drawing.x_axis(x, [(tick, f"{tick:.0%}") for tick in x.ticks(10)], "least likely token")
    drawing.line((x(0), y(0)), (x(1), y(1)), "grid")
    found = fitted.calibration
    edges = [*found.confidences, 1.0]
    points = []
    for index, chance in enumerate(found.chances):
        points += [(x(edges[index]), y(chance)), (x(edges[index + 1]), y(chance))]
    drawing.path(points, f"line {SIDES[0]}")
    shown = [Series("right", SIDES[0], [f"{chance:.1%}" for chance in found.chances])]
    labels = [f"{begin:.1%}" for begin in found.confidences]
    hover = Hover([x(begin) for begin in found.confidences], labels, shown)
    return Plot(title, about, drawing.render(), [(SIDES[0], "right")], hover, "confidence")
