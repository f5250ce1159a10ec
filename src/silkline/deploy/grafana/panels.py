"""What a dashboard is, before Grafana's SDK makes JSON of it: titles, panels and queries."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Query:
    """A query and the legend of its lines.

    Attributes:
        expr: PromQL; `$model` is the variable of the dashboard.
        legend: A template of the lines' names.
    """

    expr: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """A graph over time.

    Attributes:
        title: What it shows.
        unit: Grafana's name of the unit, such as "s", "bytes" or "percentunit".
        queries: What it asks.
        about: What a reader should know.
    """

    title: str
    unit: str
    queries: tuple[Query, ...]
    about: str = ""


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A dashboard.

    Attributes:
        uid: Its id in URLs, and the name of its file.
        title: Its title.
        rows: Its panels, by the title of their row.
    """

    uid: str
    title: str
    rows: dict[str, tuple[Panel, ...]]

    @property
    def panels(self) -> tuple[Panel, ...]:
        """All panels."""
        return tuple(panel for row in self.rows.values() for panel in row)


def panel(title: str, unit: str, *queries: tuple[str, str], about: str = "") -> Panel:
    """A panel, by its queries and their legends."""
    return Panel(title, unit, tuple(Query(*query) for query in queries), about)


def quantiles(metric: str, by: str = "model", labels: str = 'model=~"$model"') -> Panel:
    """The median and the 95th percentile of a histogram of seconds."""
    buckets = f"sum by (le, {by}) (rate(silkline_{metric}_bucket{{{labels}}}[$__rate_interval]))"
    title = metric.removesuffix("_seconds").replace("_", " ").capitalize()
    return panel(
        title,
        "s",
        *(
            (f"histogram_quantile({share}, {buckets})", f"p{round(100 * share)} {{{{{by}}}}}")
            for share in (0.5, 0.95)
        ),
    )
