"""What the shipper sends besides events, and what it logs: templates, paths, no secrets."""

import logging
from pathlib import Path
from typing import Any

import msgspec
import pytest
from opensearchpy import OpenSearch

from silkline.config import LogSettings
from silkline.observe.shipping.documents import elasticsearch_documents, setup_documents
from tests.observe.shipping.log_server import Proxy, proxy, wait_for
from tests.observe.shipping.shipping import shipped


def test_the_template_is_installed_before_the_first_event(faulty: Proxy, tmp_path: Path) -> None:
    settings = LogSettings(log_stream="setup", log_setup="elasticsearch")
    documents_sent = setup_documents(settings)
    assert list(documents_sent) == [
        "/_ilm/policy/silkline-logs",
        "/_index_template/silkline-logs",
    ]
    faulty.faults.status = 503
    with shipped(faulty.url, tmp_path, setup=documents_sent, log_stream="setup") as log:
        log.number(1)
        wait_for(lambda: faulty.seen.requests > 1, 10)
        faulty.faults.status = 200
        wait_for(lambda: any("_bulk" in path for _, path in faulty.seen.paths), 10)
    puts = [path for method, path in faulty.seen.paths if method == "PUT"]
    assert list(dict.fromkeys(puts)) == list(documents_sent)
    assert faulty.seen.paths[len(puts)][0] == "POST"


def test_a_real_server_takes_the_template_and_its_types(log_server: str, tmp_path: Path) -> None:
    # The server has no data streams; the rest of the template is what it would be.
    template = dict(elasticsearch_documents("typed")["/_index_template/silkline-logs"])
    del template["data_stream"]
    template["template"] = {"mappings": template["template"]["mappings"]}
    setup = {"/_index_template/silkline-logs": msgspec.json.encode(template)}
    with shipped(log_server, tmp_path, setup=setup, log_stream="typed") as log:
        log.number(1, **{"http.request.id": "r-1", "event.duration": 7, "url.path": "/a b"})
        log.wait_shipped(1)
    with OpenSearch(log_server) as client:
        client.indices.refresh(index="typed")
        mapping = client.indices.get_mapping(index="typed")["typed"]["mappings"]["properties"]
        found = client.search(index="typed", body={"query": {"term": {"http.request.id": "r-1"}}})
        exact = client.search(index="typed", body={"query": {"term": {"url.path": "/a b"}}})
    assert mapping["@timestamp"]["type"] == "date"
    assert mapping["event"]["properties"]["sequence"]["type"] == "long"
    assert found["hits"]["total"]["value"] == exact["hits"]["total"]["value"] == 1


def test_a_server_below_a_path_is_reached(log_server: str, tmp_path: Path) -> None:
    with proxy(log_server) as behind, shipped(f"{behind.url}/es", tmp_path) as log:
        behind.faults.status = 200
        log.number(1)
        wait_for(lambda: bool(behind.seen.paths), 10)
        assert behind.seen.paths[0][1].startswith("/es/logs-silkline-default/_bulk?")


def test_no_key_and_no_address_is_logged(
    faulty: Proxy, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    faulty.faults.status = 401
    settings: Any = {"log_ship_key_env": "KEY", "log_stream": "private"}
    with (
        caplog.at_level(logging.DEBUG, logger="silkline"),
        shipped(faulty.url, tmp_path, {"KEY": "secret-key"}, **settings) as log,
    ):
        log.number(1)
        wait_for(lambda: log.handler.snapshot().counts.failing, 10)
        faulty.faults.status = 0
        log.wait_shipped(1)
        wait_for(lambda: "the log server works again" in caplog.messages, 10)
    assert "the log server fails: HTTP status 401" in caplog.messages
    assert "secret-key" not in caplog.text
    assert faulty.url not in caplog.text
