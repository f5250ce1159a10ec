"""Puts the review together: one HTML page with everything in it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TypeVar

from silkline.report.numbers import change, span
from silkline.report.page import render
from silkline.review.days import quality_plot, traffic_plot
from silkline.review.figures import Figures
from silkline.review.incidents import Incident
from silkline.review.records import Month
from silkline.review.review import Review, Worst

T = TypeVar("T")

_NONE = "-"
_FAR_DAYS = 3650
_NAMES = {"availability": "Not failed", "latency": "Fast", "first_token": "First token fast"}


def page(review: Review) -> str:
    """The review as HTML without a reference to anything outside."""
    records = review.records
    title = f"{datetime.fromtimestamp(records.month.begin, UTC):%B %Y}"
    return render(
        "silkline.review",
        title=f"Review of {title}",
        command="silkline review",
        figures=True,
        heading=title,
        lede=_lede(review.figures),
        tiles_of=list(_tiles(review.figures, review.before)),
        actions=review.actions,
        months=(str(records.month), str(records.month.before)),
        business=list(_business(review.figures, review.before)),
        objectives=list(_objectives(review.figures, review.before)),
        stages=list(_stages(review.figures, review.before)),
        load=list(_load(review)),
        plots=[plot for plot in (traffic_plot(records), quality_plot(records)) if plot is not None],
        quality=list(_quality(review.figures, review.before)),
        incidents=[_incident(one) for one in review.incidents],
        errors=[(code, f"{count:,}") for code, count in review.figures.errors.items()],
        decisions=[
            (_time(one.at), name, one.serving.value, one.by, one.reason)
            for name, one in records.decisions
        ],
        alerts=_alerts(review),
        worst=[_worst(one) for one in review.worst],
        missing=review.missing,
        raw_figures=review.figures,
    )


def _lede(figures: Figures) -> str:
    if not figures.questions:
        return "The records have no questions of this month."
    return (
        f"{figures.questions:,} questions, recorded from {_time(figures.begin)} to "
        f"{_time(figures.end)} UTC."
    )


def _tiles(now: Figures, before: Figures | None) -> Iterator[tuple[str, str, str]]:
    yield "Answers", f"{now.answers:,}", _ago(_of(before, lambda one: f"{one.answers:,}"))
    yield (
        "Cost of a thousand",
        _money(now.cost_per_thousand),
        _ago(_of(before, lambda one: _money(one.cost_per_thousand))),
    )
    yield (
        "Saved by the cache",
        _money(now.cache_saved),
        _ago(_of(before, lambda one: _money(one.cache_saved))),
    )
    yield "Accepted as they were", _share(now.accepted), f"of {now.rewards:,} with feedback"
    availability = now.objectives["availability"]
    yield "Not failed", _share(availability.share), f"target {availability.target:.1%}"
    slowest = now.latency
    yield (
        "P95",
        _NONE if slowest is None else span(slowest.p95),
        _ago(_of(before, lambda one: span(one.latency.p95) if one.latency else None)),
    )


def _business(now: Figures, before: Figures | None) -> Iterator[tuple[str, str, str, str]]:
    for name, count, old_count in (
        ("Questions", now.questions, _of(before, lambda one: one.questions)),
        ("Answers", now.answers, _of(before, lambda one: one.answers)),
        ("Images described", now.images, _of(before, lambda one: one.images)),
        ("Different images", now.products, _of(before, lambda one: one.products)),
        ("Answers computed", now.computed, _of(before, lambda one: one.computed)),
        ("Prompt tokens", now.prompt_tokens, _of(before, lambda one: one.prompt_tokens)),
        (
            "Completion tokens",
            now.completion_tokens,
            _of(before, lambda one: one.completion_tokens),
        ),
        ("Requests with feedback", now.rewards, _of(before, lambda one: one.rewards)),
    ):
        yield name, f"{count:,}", _count(old_count), _growth(count, old_count)
    for name, value, old in (
        (
            "Cost of a thousand answers",
            now.cost_per_thousand,
            _of(before, lambda one: one.cost_per_thousand),
        ),
        ("Saved by the cache", now.cache_saved, _of(before, lambda one: one.cache_saved)),
    ):
        yield name, _money(value), _money(old), _growth(value, old)
    old_share = None if before is None else before.accepted
    yield (
        "Accepted without correction",
        _share(now.accepted),
        _share(old_share),
        _points(now.accepted, old_share),
    )


def _objectives(now: Figures, before: Figures | None) -> Iterator[tuple[str, ...]]:
    for name, one in now.objectives.items():
        old = None if before is None else before.objectives[name].share
        yield (
            _NAMES[name],
            f"{one.target:.1%}",
            _share(one.share, 2),
            _share(old, 2),
            f"{one.misses:,} of {one.questions:,}",
            _share(one.budget_left),
        )


def _stages(now: Figures, before: Figures | None) -> Iterator[tuple[str, ...]]:
    rows = {"all": now.latency, **now.stages}
    old = {} if before is None else {"all": before.latency, **before.stages}
    for name, one in rows.items():
        if one is None:
            continue
        last = old.get(name)
        yield (
            name,
            f"{one.count:,}",
            *map(span, (one.mean, one.p50, one.p95, one.p99)),
            _NONE if last is None else span(last.p95),
        )


def _load(review: Review) -> Iterator[tuple[str, str, str]]:
    now, before = review.figures, review.before
    for name, value, old in (
        (
            "Answers in the engines at once, mean",
            now.mean_engine,
            _of(before, lambda one: one.mean_engine),
        ),
        ("The same in the busiest hour", now.peak_engine, _of(before, lambda one: one.peak_engine)),
    ):
        yield name, f"{value:.3g}", _NONE if old is None else f"{old:.3g}"
    if now.peak_engine:
        yield "The busiest hour began", f"{_time(now.peak_hour)} UTC", _NONE
    forecast = review.forecast
    if forecast is not None:
        yield "Slots of the engines", f"{forecast.capacity}", _NONE
        yield "Growth of the busiest hour, a day", f"{forecast.slope:+.2g}", _NONE
        full = _full(forecast.days)
        yield "The engines are full", full, _NONE
    if review.watched is not None:
        yield "Engines busy (Prometheus), mean", _share(review.watched.busy), _NONE
        yield "The same in the busiest 5 minutes", _share(review.watched.busiest), _NONE


def _full(days: float | None) -> str:
    if days is None or days > _FAR_DAYS:
        return "not within ten years at this trend"
    return f"in {days:,.0f} days"


def _quality(now: Figures, before: Figures | None) -> Iterator[tuple[str, str, str]]:
    yield (
        "Runs of the canary set",
        f"{now.canary_runs:,}",
        _count(_of(before, lambda one: one.canary_runs)),
    )
    yield (
        "Runs with changed or failed answers",
        f"{now.canary_changed:,}",
        _count(_of(before, lambda one: one.canary_changed)),
    )
    yield (
        "Mean score of the canary set",
        _share(now.canary_score),
        _share(_of(before, lambda one: one.canary_score)),
    )
    yield (
        "Windows of traffic compared",
        f"{now.windows:,}",
        _count(_of(before, lambda one: one.windows)),
    )
    for name, count in now.drifted.items():
        old = None if before is None else before.drifted.get(name, 0)
        yield f"Windows in which {name} drifted", f"{count:,}", _count(old)


def _incident(one: Incident) -> dict[str, object]:
    return {
        "title": f"{_time(one.begin)} to {_time(one.end, '%H:%M')} UTC",
        "codes": [(code, f"{count:,}") for code, count in one.codes.items()],
        "failures": f"{one.failures:,}",
        "events": [(_time(event.at, "%H:%M:%S"), event.message) for event in one.events],
    }


def _alerts(review: Review) -> list[tuple[str, str]]:
    fired = {} if review.watched is None else review.watched.fired
    return [(name, f"{minutes:,} min") for name, minutes in sorted(fired.items())]


def _worst(one: Worst) -> dict[str, object]:
    entry = one.entry
    stages = ", ".join(f"{name} {span(seconds)}" for name, seconds in entry.timeline.items())
    return {
        "id": entry.id,
        "what": f"{_time(entry.at)} UTC, {entry.model or 'no model'}, {entry.tenant}",
        "ended": entry.error or f"answered ({entry.cache})",
        "seconds": span(entry.seconds),
        "stages": stages,
        "images": [
            f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
            for kind, data in one.images
        ],
    }


def _of(before: Figures | None, read: Callable[[Figures], T]) -> T | None:
    """A figure of the month before, if that is known."""
    return None if before is None else read(before)


def _time(at: float, form: str = "%d %b %H:%M") -> str:
    return f"{datetime.fromtimestamp(at, UTC):{form}}"


def _money(value: float | None) -> str:
    return _NONE if value is None else f"{value:,.2f}"


def _share(value: float | None, digits: int = 1) -> str:
    return _NONE if value is None else f"{value:.{digits}%}"


def _count(value: int | None) -> str:
    return _NONE if value is None else f"{value:,}"


def _growth(now: float | None, before: float | None) -> str:
    return _NONE if now is None or not before else f"{now / before - 1:+.1%}"


def _points(now: float | None, before: float | None) -> str:
    return _NONE if now is None or before is None else f"{change(now - before)} points"


def _ago(before: str | None) -> str:
    return f"last month {before}" if before and before != _NONE else "no last month"


def file_name(month: Month) -> str:
    """The usual name of a review's file."""
    return f"review-{month}.html"
