"""The metrics that a running gateway shows."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx2
import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from silkline.observe.catalogue import ALL
from tests.serving import Served, served

PREDICT = "/predict"
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
)
SPECIAL = {"_bucket", "_count", "_sum", "_created", "_total"}


@pytest.fixture(scope="module")
def own() -> Iterator[Served]:
    """A gateway of this file's own: it counts what nobody else asks."""
    options = "token_seconds=0.01"
    objectives = ("--slo-latency-seconds", "0.2", "--machine-price", "2.5")
    with served("--engine", "fake", "--engine-options", options, *objectives) as running:
        yield running


@pytest.fixture
def client(own: Served) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=own.url, timeout=30) as client:
        yield client


def scraped(client: httpx2.Client) -> list[Metric]:
    return list(text_string_to_metric_families(client.get("/metrics").text))


def value(client: httpx2.Client, name: str, **labels: str) -> float:
    return sum(
        sample.value
        for family in scraped(client)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def ask(
    client: httpx2.Client, prompt: str, *, tokens: int = 5, headers: dict[str, str] | None = None
) -> httpx2.Response:
    body = {"image_base64": PIXEL, "prompt": prompt, "max_tokens": tokens}
    return client.post(PREDICT, json=body, headers=headers)


def test_what_is_shown_is_what_is_declared(client: httpx2.Client) -> None:
    assert ask(client, "one").status_code == 200
    declared = {metric.family: metric for metric in ALL}
    for family in scraped(client):
        if family.name.endswith("_created"):
            continue
        metric = declared[family.name]
        assert (family.type, family.documentation) == (metric.kind.value, metric.about)
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(metric.labels), sample


def test_a_question_is_counted_for_its_objectives(client: httpx2.Client) -> None:
    def counts(objective: str) -> tuple[float, float]:
        questions = value(client, "silkline_slo_questions_total", objective=objective)
        return questions, value(client, "silkline_slo_misses_total", objective=objective)

    available, fast = counts("availability"), counts("latency")
    assert ask(client, "fast enough", tokens=2).status_code == 200
    assert ask(client, "too slow", tokens=40).status_code == 200
    assert ask(client, "the client's fault", tokens=-1).status_code == 400
    assert client.get("/live").status_code == 200
    assert counts("availability") == (available[0] + 2, available[1])
    assert counts("latency") == (fast[0] + 2, fast[1] + 1)


def test_openmetrics_names_a_request(client: httpx2.Client) -> None:
    assert ask(client, "named", headers={"x-request-id": "the-named-one"}).status_code == 200
    reply = client.get("/metrics", headers={"accept": "application/openmetrics-text"})
    assert reply.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    ids = {
        sample.exemplar.labels["request_id"]
        for family in openmetrics(reply.text)  # type: ignore[no-untyped-call]
        for sample in family.samples
        if sample.exemplar
    }
    assert "the-named-one" in ids
    assert client.get("/metrics").headers["content-type"].startswith("text/plain; version=0.0.4")


def test_a_worker_counts_for_how_long_it_is_busy(client: httpx2.Client) -> None:
    def busy() -> tuple[float, float]:
        seconds = value(client, "silkline_replica_busy_seconds_total")
        return seconds, value(client, "silkline_replica_slot_seconds_total")

    before = busy()
    asked = time.monotonic()
    assert ask(client, "for a while", tokens=100).status_code == 200
    took = time.monotonic() - asked
    deadline = time.monotonic() + 30
    while busy()[0] < before[0] + took / 2:  # the supervisor asks the worker once a second
        assert time.monotonic() < deadline
        time.sleep(0.1)
    seconds, slots = (after - first for after, first in zip(busy(), before, strict=True))
    assert seconds <= took + 0.1
    assert slots == pytest.approx(seconds)


def test_the_parts_of_the_machine_are_shown(client: httpx2.Client) -> None:
    ask(client, "twice")
    ask(client, "twice")
    assert value(client, "silkline_machine_cores") >= 1
    assert value(client, "silkline_machine_memory_bytes") > 1e8
    assert value(client, "silkline_gateway_resident_bytes") > 1e7
    assert value(client, "silkline_decode_processes", kind="images") == 2
    assert value(client, "silkline_cache_hit_age_seconds_count", tier="memory") >= 1
    assert value(client, "silkline_machine_price_per_hour") == 2.5
    assert value(client, "silkline_event_loop_lag_seconds_count") >= 1
