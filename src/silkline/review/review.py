"""Makes the review of a month: reads its records, computes its figures, says what is missing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from silkline.config import Settings
from silkline.errors import EnvironmentFault
from silkline.gateway.history.entry import Entry
from silkline.review.actions import Action, actions_of
from silkline.review.figures import DAY, Figures, figures_of
from silkline.review.incidents import Forecast, Incident, forecast_of, incidents_of
from silkline.review.prometheus import Watched, ask_prometheus
from silkline.review.records import Month, Records, Sources, images_of, read_records

WORST = 8
"""Requests that the page shows as the worst."""


@dataclass(frozen=True, slots=True)
class Worst:
    """One of the worst requests.

    Attributes:
        entry: The request.
        images: Media types and files of its images, where they are kept.
    """

    entry: Entry
    images: list[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Review:
    """The review of a month.

    Attributes:
        records: The month's records.
        figures: Its figures.
        before: The figures of the month before; None without records of it.
        incidents: Its incidents in their order.
        forecast: When the engines are full; None if the records do not tell.
        worst: Requests that failed by the server's fault, then the slowest.
        actions: At most three suggestions.
        watched: What Prometheus knows; None if it was not asked or does not respond.
        missing: What the page lacks, and why, one sentence each.
    """

    records: Records
    figures: Figures
    before: Figures | None
    incidents: list[Incident]
    forecast: Forecast | None
    worst: list[Worst]
    actions: list[Action]
    watched: Watched | None
    missing: list[str]


async def review_month(month: Month, sources: Sources, settings: Settings) -> Review:
    """Makes the review of a month.

    Raises:
        ConfigError: A file cannot be read.
    """
    records = read_records(sources, month)
    earlier = read_records(sources, month.before)
    figures = figures_of(records, settings)
    before = figures_of(earlier, settings) if earlier.entries else None
    capacity = _capacity(settings)
    forecast = None if capacity is None else forecast_of(records.entries, capacity)
    watched = None
    missing = list(_missing(records, earlier, sources, settings))
    if forecast is None:
        missing.append(
            "When the engines are full: this needs requests of at least seven days, and local "
            "workers, whose number of slots the settings know."
        )
    if sources.prometheus:
        try:
            watched = await ask_prometheus(sources.prometheus, month)
        except EnvironmentFault as error:
            missing.append(f"Utilisation and alerts: {error.message}")
    else:
        missing.append("Utilisation of the engines and alerts that fired: --prometheus asks one.")
    return Review(
        records,
        figures,
        before,
        incidents_of(records.entries, records.events),
        forecast,
        _worst(records, sources),
        actions_of(records.entries, settings),
        watched,
        missing,
    )


def _capacity(settings: Settings) -> int | None:
    """Answers that fit into the local workers at once; None with remote servers."""
    models = settings.served.values()
    if any(model.remotes for model in models):
        return None
    return sum(model.workers * model.max_batch for model in models)


def _worst(records: Records, sources: Sources) -> list[Worst]:
    """Failed questions first, then the slowest ones; of each code and question only one."""
    pairs = [
        (number, one)
        for number, one in zip(records.numbers, records.entries, strict=True)
        if one.asked is not None
    ]
    pairs.sort(key=lambda pair: (pair[1].status < 500, -pair[1].seconds))  # noqa: PLR2004 - 5xx
    failed = [pair for pair in pairs if pair[1].status >= 500][: WORST // 2]  # noqa: PLR2004 - 5xx
    slow = [pair for pair in pairs if pair[1].status < 500][: WORST - len(failed)]  # noqa: PLR2004
    return [Worst(one, images_of(sources, number)) for number, one in (*failed, *slow)]


def _missing(
    records: Records, earlier: Records, sources: Sources, settings: Settings
) -> Iterator[str]:
    month = records.month
    if sources.history is None:
        yield "Everything about requests: set history_file in [history]."
    elif not records.entries:
        yield f"Everything about requests: the history has none of {month}."
    else:
        first = records.entries[0].at
        if first - month.begin > DAY:
            day = datetime.fromtimestamp(first, UTC)
            yield (
                f"Requests before {day:%d %B, %H:%M} UTC: the history begins there. It keeps "
                f"{settings.history.history_ttl / DAY:g} days and "
                f"{settings.history.history_count:,} requests (history_ttl, history_count)."
            )
        if not earlier.entries:
            yield f"A comparison with {month.before}: the history has no requests of it."
    if not settings.monitoring.machine_price:
        yield "Cost, and what the cache saved: set machine_price in [monitoring]."
    if not records.rewards:
        yield (
            "Answers accepted without correction: feedback is kept for requests of an experiment, "
            "in experiment_file; there is none of this month."
        )
    if sources.drift is None:
        yield "Drift and the canary set: set drift_journal in [drift]."
    elif not records.past.runs:
        yield "Quality on the canary set: no run is in the journal; set canary_data."
    if not sources.logs:
        yield "What the logs say about incidents: --log names files of log lines in JSON."
    yield (
        "Gates refused, and an audit log of admins: no journal keeps them. The verdict of each "
        "served model is in GET /admin/models."
    )
    yield (
        "The gain of fewer pixels: it needs the quality by pixel budget, which no journal keeps. "
        "`silkline evaluate` with several max_pixels measures it."
    )
