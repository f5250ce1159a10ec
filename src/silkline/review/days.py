"""The plots of a review: the traffic of each day, and the runs of the canary set."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

from silkline.errors import SERVER_FAULTS
from silkline.report.plot import Hover, Plot, Series
from silkline.report.svg import Drawing
from silkline.review.figures import CACHED, DAY, is_answered
from silkline.review.records import Records

_STACK = (("computed", "a"), ("from the cache", "cached"), ("failed", "failed"))


def traffic_plot(records: Records) -> Plot | None:
    """Answers of each day: computed, from the cache, and questions that failed; None if empty."""
    month = records.month
    days = round((month.end - month.begin) / DAY)
    counts: Counter[tuple[int, str]] = Counter()
    for one in records.entries:
        if one.asked is None:
            continue
        day = int((one.at - month.begin) // DAY)
        if is_answered(one):
            counts[day, "from the cache" if one.cache in CACHED else "computed"] += 1
        elif one.error in SERVER_FAULTS:
            counts[day, "failed"] += 1
    if not counts:
        return None
    title, about = "Each day", "Answers by where they came from, and questions that failed."
    drawing = Drawing(260, title, about)
    highest = max(sum(counts[day, name] for name, _ in _STACK) for day in range(days))
    x, y = drawing.x(0, days), drawing.y(0, highest * 1.06)
    drawing.y_axis(y, [(tick, f"{tick:,.0f}") for tick in y.ticks(5)], "requests")
    width = x(1) - x(0)
    for day in range(days):
        base = 0
        for name, colour in _STACK:
            top = base + counts[day, name]
            if top > base:
                box = (x(day) + width * 0.1, y(top), width * 0.8, y(base) - y(top))
                drawing.rect(box, f"fill {colour}")
            base = top
    labels = [_day(month.begin + day * DAY) for day in range(days)]
    drawing.x_axis(x, [(day + 0.5, labels[day]) for day in range(0, days, 3)], "")
    shown = [
        Series(name, colour, [f"{counts[day, name]:,}" for day in range(days)])
        for name, colour in _STACK
    ]
    hover = Hover([x(day + 0.5) for day in range(days)], labels, shown)
    legend = [(colour, name) for name, colour in _STACK]
    return Plot(title, about, drawing.render(), legend, hover, "day")


def quality_plot(records: Records) -> Plot | None:
    """The mean score of the canary set by day; None without scores."""
    month = records.month
    scores: dict[int, list[float]] = {}
    changed: Counter[int] = Counter()
    for run in records.past.runs:
        day = int((run.at - month.begin) // DAY)
        if run.score is not None:
            scores.setdefault(day, []).append(run.score)
        changed[day] += run.count("changed") + run.count("failed")
    if not scores:
        return None
    title, about = (
        "The canary set",
        "Mean score of each day's runs; dots mark days with changed or failed answers.",
    )
    drawing = Drawing(220, title, about)
    days = sorted(scores)
    means = [sum(scores[day]) / len(scores[day]) for day in days]
    x = drawing.x(0, round((month.end - month.begin) / DAY))
    y = drawing.y(min(*means, 0.99) - 0.01, 1.0)
    drawing.y_axis(y, [(tick, f"{tick:.1%}") for tick in y.ticks(5)], "score")
    at = [x(day + 0.5) for day in days]
    drawing.path(zip(at, map(y, means), strict=True), "line a")
    for place, day, mean in zip(at, days, means, strict=True):
        if changed[day]:
            drawing.dot((place, y(mean)), 6, "fill failed")
    labels = [_day(month.begin + day * DAY) for day in days]
    drawing.x_axis(x, list(zip([day + 0.5 for day in days], labels, strict=True))[::3], "")
    shown = [
        Series("score", "a", [f"{mean:.1%}" for mean in means]),
        Series("changed or failed", "failed", [f"{changed[day]}" for day in days]),
    ]
    legend = [("a", "score"), ("failed", "changed or failed")]
    return Plot(title, about, drawing.render(), legend, Hover(at, labels, shown), "day")


def _day(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%d %b}"
