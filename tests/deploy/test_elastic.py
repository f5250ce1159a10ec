"""What `silkline render elastic` writes, with the servers and shippers that it is for."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from opensearchpy import OpenSearch

from silkline.config import Settings
from silkline.deploy.elastic.target import ELASTIC, LOG_FILE
from tests.observe.shipping.log_server import documents, osmem, wait_for

INSTALL = "apt-get update && apt-get install -y rsyslog rsyslog-elasticsearch"


@pytest.fixture(scope="module")
def log_server() -> Iterator[str]:
    with osmem() as url:
        yield url


def rendered(url: str, stream: str = "logs-shop-default") -> dict[str, str]:
    settings = {"log": {"log_ship_url": url, "log_spool": "/spool", "log_stream": stream}}
    return dict(ELASTIC.render(Settings.model_validate(settings)))


def event(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "@timestamp": "2026-11-30T19:17:06.825759+00:00",
        "log.level": "info",
        "message": "request",
        "event.sequence": number,
        **fields,
    }


def test_each_file_parses_and_names_the_stream() -> None:
    files = rendered("https://logs.example:9243/es")
    for name, text in files.items():
        if name.endswith((".yml", ".yaml")):
            assert "logs-shop-default" in json.dumps(yaml.safe_load(text)), name
        elif name.endswith(".json"):
            assert json.loads(text)
        else:
            assert "logs-shop-default" in text or "install" in name
    vector = yaml.safe_load(files["vector.yaml"])
    assert vector["sinks"]["elasticsearch"]["endpoints"] == ["https://logs.example:9243/es"]
    fluent = yaml.safe_load(files["fluent-bit.yaml"])["pipeline"]["outputs"][0]
    assert (fluent["host"], fluent["port"], fluent["tls"]) == ("logs.example", 9243, True)


def test_rsyslog_ships_a_log_file_to_a_real_server(log_server: str, tmp_path: Path) -> None:
    rsyslogd = shutil.which("rsyslogd", path="/usr/sbin:/usr/bin:/sbin")
    if rsyslogd is None:
        pytest.fail(f"No rsyslogd. Run: {INSTALL}")
    log = tmp_path / "silkline.log"
    text = rendered(log_server, "rsyslog")["rsyslog.conf"]
    config = tmp_path / "rsyslog.conf"
    config.write_text(text.replace(LOG_FILE, str(log)).replace("/var/spool/rsyslog", str(tmp_path)))
    checked = subprocess.run(
        [rsyslogd, "-N1", "-f", config], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    events = [event(number, **{"url.path": f'/\u00e4"{number}'}) for number in range(50)]
    log.write_text("".join(json.dumps(one) + "\n" for one in events))
    shipper = subprocess.Popen([rsyslogd, "-n", "-f", config, "-i", tmp_path / "pid"])
    try:
        wait_for(lambda: len(documents(log_server, "rsyslog")) >= 50, 20)
    finally:
        shipper.terminate()
        shipper.wait(timeout=20)
    assert documents(log_server, "rsyslog") == events


def test_the_saved_objects_refer_to_each_other() -> None:
    objects = [json.loads(line) for line in rendered("http://x:9200")["kibana.ndjson"].splitlines()]
    ids = {(found["type"], found["id"]) for found in objects}
    assert {kind for kind, _ in ids} == {"index-pattern", "visualization", "search", "dashboard"}
    for found in objects:
        for reference in found["references"]:
            assert (reference["type"], reference["id"]) in ids
    (dashboard,) = [found for found in objects if found["type"] == "dashboard"]
    panels = json.loads(dashboard["attributes"]["panelsJSON"])
    names = {reference["name"] for reference in dashboard["references"]}
    assert {panel["panelRefName"] for panel in panels} == names


def test_every_chart_finds_its_fields_in_a_real_server(log_server: str) -> None:
    """Runs the aggregations of each chart on events as the gateway logs them."""
    files = rendered(log_server, "charts")
    template = json.loads(files["opensearch/index-template.json"])
    del template["data_stream"]  # the server has none
    with OpenSearch(log_server) as client:
        client.indices.put_index_template(name="charts", body=template)
        fields = {
            "http.request.id": "r-1",
            "http.response.status_code": 503,
            "event.duration": 5,
            "silkline.cache": "miss",
            "error.code": "overloaded",
        }
        client.index(index="charts", body=event(1, **fields), refresh=True)
        charts = 0
        for line in files["kibana.ndjson"].splitlines():
            found = json.loads(line)
            if found["type"] != "visualization":
                continue
            for one in json.loads(found["attributes"]["visState"])["aggs"]:
                if one["type"] == "terms":
                    body = {"terms": {"field": one["params"]["field"]}}
                elif one["type"] == "percentiles":
                    body = {"percentiles": {"field": one["params"]["field"]}}
                elif one["type"] == "date_histogram":
                    body = {"date_histogram": {"field": "@timestamp", "fixed_interval": "1m"}}
                else:
                    continue
                answer = client.search(index="charts", body={"size": 0, "aggs": {"a": body}})
                result = answer["aggregations"]["a"]
                assert result.get("buckets") or result.get("values"), one
                charts += 1
    assert charts == 8


def test_the_install_script_puts_both_documents(tmp_path: Path) -> None:
    for kind in ("elasticsearch", "opensearch"):
        script = rendered("http://x:9200")[f"{kind}/install.sh"]
        file = tmp_path / f"{kind}.sh"
        file.write_text(script)
        subprocess.run(["sh", "-n", file], check=True)
        names = re.findall(r"--data-binary @(\S+)", script)
        assert names == ["lifecycle-policy.json", "index-template.json"]


def test_no_field_of_the_log_is_an_object_in_one_event_and_a_value_in_another() -> None:
    """A server would refuse one of the two events."""
    field = re.compile(r'"((?:silkline|http|error|event|process|url)(?:\.\w+)+)"(?:: |] =)')
    source = Path(__file__).parents[2] / "src"
    names = {name for path in source.rglob("*.py") for name in field.findall(path.read_text())}
    assert "silkline.cache" in names
    inner = {(one, other) for one in names for other in names if other.startswith(f"{one}.")}
    assert not inner
