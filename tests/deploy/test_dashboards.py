"""The dashboards and the alerts' routes: valid, and about metrics that exist."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import promql_parser
import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard as SdkDashboard

from silkline.config import Settings
from silkline.deploy.grafana.dashboards import all_dashboards
from silkline.deploy.grafana.panels import Dashboard
from silkline.deploy.prometheus.alerts import all_alerts
from silkline.deploy.prometheus.documents import Recording
from silkline.deploy.prometheus.recording import recording_groups
from silkline.observe.catalogue import ALL
from silkline.observe.declared import Kind
from tests.deploy.promtool import program, rendered

DASHBOARDS = all_dashboards()
RECORDED = {
    rule.record: rule.expr
    for group in recording_groups()
    for rule in group.rules
    if isinstance(rule, Recording)
}
ALERTED = {alert.name: alert.expr for alert in all_alerts(Settings())}
DRAWN = {
    f"{panel.title}: {query.legend}": query.expr
    for dashboard in DASHBOARDS
    for panel in dashboard.panels
    for query in panel.queries
}
SUFFIXES = {Kind.HISTOGRAM: ("_bucket", "_sum", "_count"), Kind.COUNTER: ("",), Kind.GAUGE: ("",)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = '[monitoring]\nalert_webhook = "http://127.0.0.1:1/alerts"\n'
    folder = tmp_path_factory.mktemp("dashboards")
    return rendered(folder, settings, "alertmanager", "grafana")


@pytest.mark.parametrize("expression", [*RECORDED.values(), *ALERTED.values(), *DRAWN.values()])
def test_an_expression_asks_for_metrics_that_exist(expression: str) -> None:
    text = expression.replace("$__rate_interval", "1m").replace("$model", ".*")
    promql_parser.parse(text)
    known = {metric.name + suffix for metric in ALL for suffix in SUFFIXES[metric.kind]}
    names = set(re.findall(r"\b(silkline_[a-z0-9_]+)\b", text))
    assert names <= known
    recorded = set(re.findall(r"\bsilkline:[a-z0-9_:]+\b", text))
    assert recorded <= set(RECORDED)


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.uid)
def test_a_dashboard_is_what_the_sdk_reads(dashboard: Dashboard, folder: Path) -> None:
    text = (folder / "grafana" / "dashboards" / f"{dashboard.uid}.json").read_text()
    read = SdkDashboard.from_json(json.loads(text))
    assert json.loads(JSONEncoder().encode(read)) == json.loads(text)
    titles = [panel["title"] for panel in json.loads(text)["panels"] if panel["type"] != "row"]
    assert titles == [panel.title for panel in dashboard.panels]
    sources = {
        panel["datasource"]["uid"] for panel in json.loads(text)["panels"] if panel["type"] != "row"
    }
    assert sources == {"prometheus"}


def route_of(folder: Path, *labels: str) -> str:
    file = folder / "alertmanager" / "alertmanager.yml"
    command = [program("amtool"), "config", "routes", "test", f"--config.file={file}", *labels]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_alertmanager_accepts_its_configuration_and_routes_alerts(folder: Path) -> None:
    file = folder / "alertmanager" / "alertmanager.yml"
    subprocess.run([program("amtool"), "check-config", file], check=True, capture_output=True)
    for severity in ("page", "ticket"):
        assert route_of(folder, f"severity={severity}") == "operators"
