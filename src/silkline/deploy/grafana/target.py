"""The files of the target `grafana`: dashboards as JSON, and how Grafana finds them."""

from __future__ import annotations

from typing import Any

from silkline.config import Settings
from silkline.deploy.documents import Document, to_yaml
from silkline.deploy.grafana.dashboards import all_dashboards
from silkline.deploy.grafana.panels import Dashboard, Panel
from silkline.deploy.target import Files, Target
from silkline.errors import EnvironmentFault

_COMMAND = "silkline render grafana"
DATA_SOURCE = "prometheus"
"""The uid of the data source that is provisioned."""

COLUMNS, HEIGHT = 3, 8
_GRID = 24


class _Provider(Document, frozen=True):
    name: str
    type: str
    folder: str
    options: dict[str, str]


class _Providers(Document, rename={"version": "apiVersion"}, frozen=True):
    version: int
    providers: tuple[_Provider, ...]


class _DataSource(Document, rename="camel", frozen=True):
    name: str
    uid: str
    type: str
    access: str
    url: str
    is_default: bool


class _DataSources(Document, rename={"version": "apiVersion"}, frozen=True):
    version: int
    datasources: tuple[_DataSource, ...]


def _files(settings: Settings) -> Files:
    folder = {"path": "/var/lib/grafana/dashboards/silkline"}
    provider = _Provider("silkline", "file", "Silkline", folder)
    source = _DataSource(
        "Prometheus",
        DATA_SOURCE,
        "prometheus",
        "proxy",
        settings.monitoring.prometheus_url,
        is_default=True,
    )
    return {
        "provisioning/dashboards/silkline.yml": to_yaml(_Providers(1, (provider,)), _COMMAND),
        "provisioning/datasources/silkline.yml": to_yaml(_DataSources(1, (source,)), _COMMAND),
        **{f"dashboards/{each.uid}.json": _json(each) for each in all_dashboards()},
    }


def _json(dashboard: Dashboard) -> str:
    """A dashboard as JSON, by Grafana's own SDK.

    Raises:
        EnvironmentFault: The SDK is not installed.
    """
    try:
        from grafana_foundation_sdk.builders import dashboard as builders  # noqa: PLC0415
        from grafana_foundation_sdk.cog.encoder import JSONEncoder  # noqa: PLC0415
    except ImportError as error:
        raise EnvironmentFault(
            "Dashboards need Grafana's foundation SDK, which is not installed.",
            remedy="pip install 'silkline[render]'",
        ) from error
    built = (
        builders.Dashboard(dashboard.title)
        .uid(dashboard.uid)
        .tags(["silkline"])
        .refresh("30s")
        .time("now-1h", "now")
        .timezone("browser")
        .with_variable(
            builders.QueryVariable("model")
            .label("Model")
            .datasource(_source())
            .query("label_values(silkline_model_loaded, model)")
            .multi(True)  # noqa: FBT003 - the SDK's own
            .include_all(True)  # noqa: FBT003 - the SDK's own
        )
    )
    for title, panels in dashboard.rows.items():
        built = built.with_row(builders.Row(title))
        for panel in panels:
            built = built.with_panel(_panel(panel))
    return f"{JSONEncoder(sort_keys=True, indent=2).encode(built.build())}\n"


def _panel(panel: Panel) -> Any:
    from grafana_foundation_sdk.builders import prometheus, timeseries  # noqa: PLC0415 - an extra

    built = (
        timeseries.Panel()
        .title(panel.title)
        .description(panel.about)
        .unit(panel.unit)
        .datasource(_source())
        .span(_GRID // COLUMNS)
        .height(HEIGHT)
        .min(0)
    )
    for index, query in enumerate(panel.queries):
        built = built.with_target(
            prometheus.Dataquery()
            .expr(query.expr)
            .legend_format(query.legend)
            .ref_id(chr(ord("A") + index))
            .exemplar("_bucket" in query.expr)
        )
    return built


def _source() -> Any:
    from grafana_foundation_sdk.models.dashboard import DataSourceRef  # noqa: PLC0415 - an extra

    return DataSourceRef(type_val="prometheus", uid=DATA_SOURCE)


GRAFANA = Target("grafana", "dashboards, and what provisions them", _files)
