"""Puts the page of a distillation together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from silkline.distil.curve import Point
from silkline.distil.record import Distilled, Model
from silkline.report.numbers import span
from silkline.report.page import render
from silkline.report.plot import SIDES, Hover, Plot, Series
from silkline.report.svg import Drawing

_SIZES = (
    ("parameters", "parameters"),
    ("tower layers", "tower_layers"),
    ("tower width", "tower_width"),
    ("decoder layers", "decoder_layers"),
    ("decoder width", "decoder_width"),
    ("image tokens", "image_tokens"),
)


def page(found: Distilled) -> str:
    """The report of a distillation: HTML without a reference to anything outside."""
    looking = found.looking
    followed = "-" if looking.followed is None else f"{looking.followed:.1%}"
    return render(
        "silkline.distil.report",
        title=f"A student of {found.teacher}",
        command="silkline distill",
        figures=True,
        found=found,
        tiles_of=[
            ("Answers as the teacher", f"{found.agreement:.1%}", f"{found.held_out:,} held out"),
            ("Parameters", f"{found.share:.1%}", f"{found.student.parameters:,}"),
            ("Looks at the image", followed, "of the answers that blur changes for the teacher"),
            ("Trained", span(found.points[-1].seconds), f"{found.points[-1].step:,} steps"),
        ],
        sizes=[_size(name, field, found.of, found.student) for name, field in _SIZES],
        looks=[
            ("teacher", f"{looking.teacher:.1%}"),
            ("student", f"{looking.student:.1%}"),
        ],
        plots=[_losses(found.points), _agreement(found.points)],
    )


def _size(name: str, field: str, teacher: Model, student: Model) -> tuple[str, str, str]:
    return name, f"{getattr(teacher, field):,}", f"{getattr(student, field):,}"


def _losses(points: Sequence[Point]) -> Plot:
    lines: list[tuple[str, Callable[[Point], float]]] = [
        ("training", lambda point: point.train_loss),
        ("held out", lambda point: point.held_out_loss),
    ]
    about = (
        "Training: soft loss and cross-entropy together, the mean since the last point. Held out: "
        "the soft loss, with averaged weights."
    )
    return _plot("Loss", about, points, lines, log=True)


def _agreement(points: Sequence[Point]) -> Plot:
    about = "The share of held-out answers that are the teacher's, token for token."
    return _plot("Answers as the teacher", about, points, [("held out", lambda p: p.agreement)])


def _plot(
    title: str,
    about: str,
    points: Sequence[Point],
    lines: Sequence[tuple[str, Callable[[Point], float]]],
    *,
    log: bool = False,
) -> Plot:
    drawing = Drawing(250, title, about)
    values = [[read(point) for point in points] for _, read in lines]
    every = [value for line in values for value in line]
    x = drawing.x(0, points[-1].step)
    low = max(1e-6, min(every) * 0.9) if log else 0.0
    y = drawing.y(low, max(*every, low * 1.1) * 1.05 if log else 1.0, log=log)
    drawing.y_axis(
        y, [(tick, f"{tick:g}" if log else f"{tick:.0%}") for tick in y.ticks(5)], title.lower()
    )
    drawing.x_axis(x, [(tick, f"{tick:,.0f}") for tick in x.ticks(8)], "steps")
    places = [x(point.step) for point in points]
    shown = []
    for (name, _), line, colour in zip(lines, values, SIDES, strict=False):
        drawing.path(zip(places, map(y, line), strict=True), f"line {colour}")
        texts = [f"{value:.4f}" if log else f"{value:.1%}" for value in line]
        shown.append(Series(name, colour, texts))
    legend = [(colour, name) for (name, _), colour in zip(lines, SIDES, strict=False)]
    labels = [f"{point.step:,}" for point in points]
    return Plot(title, about, drawing.render(), legend, Hover(places, labels, shown), "step")
