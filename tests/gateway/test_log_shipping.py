"""The events of real gateways, with one process and with several, in a real log server."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.observe.shipping.log_server import Proxy, documents, osmem, proxy, wait_for
from tests.serving import Served, served


@pytest.fixture(scope="module")
def log_server() -> Iterator[str]:
    with osmem() as url:
        yield url


@pytest.fixture
def faulty(log_server: str) -> Iterator[Proxy]:
    with proxy(log_server) as started:
        yield started


def gateway(faulty: Proxy, folder: Path, stream: str, *options: str) -> Any:
    shipping = ["--log-ship-url", faulty.url, "--log-spool", str(folder), "--log-stream", stream]
    return served("--engine", "fake", "--decode-processes", "1", *shipping, *options)


def ask(running: Served, *ids: str) -> None:
    with httpx2.Client(base_url=running.url, timeout=30) as http:
        for request_id in ids:
            http.get("/v1/models", headers={"x-request-id": request_id}).raise_for_status()


def requests_in(url: str, stream: str) -> list[str]:
    """The ids of the requests in a stream."""
    return [
        event["http.request.id"]
        for event in documents(url, stream)
        if event["message"] == "request" and event["url.path"] == "/v1/models"
    ]


def metric(running: Served, name: str) -> float:
    text = httpx2.get(f"{running.url}/metrics").text
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    )


def counts_all(running: Served, faulty: Proxy, stream: str) -> bool:
    """Whether the metrics count each event that the server has, the owner's too."""
    counted = metric(running, "silkline_log_shipped_total")
    return counted == len(documents(faulty.target, stream))


def test_every_event_of_the_log_is_shipped(faulty: Proxy, tmp_path: Path) -> None:
    ids = [f"request-{number}" for number in range(20)]
    with gateway(faulty, tmp_path, "gateway") as running:
        ask(running, *ids)
        wait_for(lambda: metric(running, "silkline_log_shipped_total") >= 20, 20)
        assert metric(running, "silkline_log_spooled_total") >= 20
        assert metric(running, "silkline_log_dropped_total") == 0
        assert metric(running, "silkline_log_failing") == 0
    assert requests_in(faulty.target, "gateway") == ids
    shipped = documents(faulty.target, "gateway")
    logged = running.events("request")
    assert [event["http.request.id"] for event in shipped if event["message"] == "request"] == [
        event["http.request.id"] for event in logged
    ]
    assert shipped[-1]["message"] == logged[-1]["message"] or shipped[-1]["message"] == "draining"


@pytest.mark.slow
def test_a_gateway_that_is_killed_in_an_outage_loses_no_request(
    faulty: Proxy, tmp_path: Path
) -> None:
    faulty.faults.down = True
    ids = [f"request-{number}" for number in range(30)]
    with gateway(faulty, tmp_path, "killed") as running:
        ask(running, *ids[:20])
        wait_for(lambda: metric(running, "silkline_log_queued_bytes") == 0, 20)
        wait_for(lambda: metric(running, "silkline_log_failing") == 1, 20)
        running.process.send_signal(signal.SIGKILL)
        running.process.wait(timeout=10)
    faulty.faults.down = False
    with gateway(faulty, tmp_path, "killed") as running:
        ask(running, *ids[20:])
    assert requests_in(faulty.target, "killed") == ids


@pytest.mark.slow
def test_several_gateway_processes_ship_all_that_they_log(faulty: Proxy, tmp_path: Path) -> None:
    ids = [f"request-{number}" for number in range(40)]
    with gateway(faulty, tmp_path, "several", "--processes", "2") as running:
        for request_id in ids:
            ask(running, request_id)  # a connection of its own, to either process
        wait_for(lambda: metric(running, "silkline_log_shipped_total") >= 40, 20)
        wait_for(lambda: counts_all(running, faulty, "several"), 10)
    found = requests_in(faulty.target, "several")
    assert sorted(found) == sorted(ids)
    assert len(list(tmp_path.iterdir())) == 3  # one for each process, and the owner's
