"""The plots of an experiment: each metric's interval against requests, beside its margin."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from silkline.report.plot import Hover, Plot, Series
from silkline.report.svg import Drawing

_SETTLED = 0.25
"""Share of the points at the start whose wide intervals do not set the scale."""

_COLOUR = "b"
_NAME_WIDTH = 70
"""Pixels that the name of a decision may need."""


@dataclass(frozen=True, slots=True)
class _Metric:
    """What is drawn.

    Attributes:
        key: Its name in a point.
        title: Of the plot.
        about: How to read it, in a sentence.
        limit: What must be kept.
        limit_name: What that is.
        equal: Where both arms are equally good.
        told: How a value is written.
    """

    key: str
    title: str
    about: str
    limit: float
    limit_name: str
    equal: float | None
    told: Callable[[float], str]


def plots(found: Mapping[str, Any]) -> list[Plot]:
    """The plots of an experiment, as the admin API shows it; those without points are left out."""
    course, marks = found["course"], _marks(found["decisions"])
    drawn = [_plot(metric, course, marks) for metric in _metrics(found["settings"])]
    return [plot for plot in drawn if plot is not None]


def _metrics(settings: Mapping[str, Any]) -> tuple[_Metric, ...]:
    slower, fails, loss = (
        settings[name] for name in ("latency_margin", "max_failures", "reward_margin")
    )
    holds = "The band holds the true value at all times, however often one looks"
    return (
        _Metric(
            "gain",
            "Reward: candidate minus control",
            f"{holds}. All of it below the red line: rolled back. All of it above: proved.",
            0.0 if settings["goal"] == "better" else -loss,
            "must be better" if settings["goal"] == "better" else f"accepted loss {loss:g}",
            0.0,
            lambda value: f"{value:+.3f}",
        ),
        _Metric(
            "latency",
            "Latency: candidate over control",
            f"{holds}. It compares typical latencies within a cache state.",
            1 + slower,
            f"accepted {1 + slower:g}",
            1.0,
            lambda value: f"{value:.3f}",
        ),
        _Metric(
            "failures",
            "Failed requests of the candidate",
            f"{holds}.",
            fails,
            f"accepted {fails:.2%}",
            None,
            lambda value: f"{value:.2%}",
        ),
    )


def _marks(decisions: Sequence[Mapping[str, Any]]) -> list[tuple[int, str]]:
    """Requests and share of each decision."""
    marks = []
    for one in decisions:
        arms = one["evidence"]["arms"].values()
        name = {"split": f"{one['share']:.0%}", "candidate": "promoted", "model": "rolled back"}
        requests = sum(arm["requests"] for arm in arms)
        marks.append((requests, name.get(one["serving"], one["serving"])))
    return marks


def _plot(
    metric: _Metric, course: Sequence[Mapping[str, Any]], marks: Sequence[tuple[int, str]]
) -> Plot | None:
    points = [(one["requests"], one[metric.key]) for one in course if one[metric.key] is not None]
    if len(points) < 2:  # noqa: PLR2004 - a line needs two
        return None
    drawing = Drawing(280, metric.title, metric.about)
    settled = [value for _, value in points[int(_SETTLED * len(points)) :]]
    ends = [metric.limit, *([] if metric.equal is None else [metric.equal])]
    ends += [value[key] for value in settled for key in ("low", "high")]
    low, high = min(ends), max(ends)
    room = (high - low or 1.0) * 0.06
    x = drawing.x(0, max(points[-1][0], *(at for at, _ in marks), 1))
    y = drawing.y(low - room, high + room)
    drawing.y_axis(y, [(tick, metric.told(tick)) for tick in y.ticks(5)], "")
    drawing.x_axis(x, [(tick, f"{tick:,.0f}") for tick in x.ticks(8)], "requests of both arms")
    for number, (at, name) in enumerate(marks):
        drawing.line((x(at), drawing.top), (x(at), drawing.bottom), "step")
        near_end = x(at) > drawing.right - _NAME_WIDTH
        beside = (x(at) + (-4 if near_end else 4), drawing.top + 11 + 13 * (number % 3))
        drawing.text(beside, name, "fine", "end" if near_end else "start")
    if metric.equal is not None:
        drawing.line((drawing.left, y(metric.equal)), (drawing.right, y(metric.equal)), "equal")
    across = [x(at) for at, _ in points]
    bounds = {
        key: list(zip(across, [y(one[key]) for _, one in points], strict=True))
        for key in ("estimate", "low", "high")
    }
    drawing.path([*bounds["low"], *reversed(bounds["high"])], f"area {_COLOUR}", closed=True)
    drawing.path(bounds["estimate"], f"line {_COLOUR}")
    drawing.limit(y, metric.limit, metric.limit_name)
    series = [
        Series(name, colour, [metric.told(one[key]) for _, one in points])
        for name, colour, key in (
            ("high", "", "high"), ("estimate", _COLOUR, "estimate"), ("low", "", "low"),
        )
    ]  # fmt: skip
    labels = [f"{at:,} requests" for at, _ in points]
    legend = [(_COLOUR, "estimate and interval")]
    return Plot(
        metric.title, metric.about, drawing.render(), legend, Hover(across, labels, series),
        "requests",
    )  # fmt: skip
