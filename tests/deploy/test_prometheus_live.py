"""A real Prometheus scrapes a running gateway: its rules are healthy, and panels show data."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from random import Random

import httpx2
import pytest

from silkline.deploy.grafana.dashboards import all_dashboards
from silkline.deploy.grafana.panels import Panel
from silkline.drift.baseline import take_baseline, write_baseline
from tests.deploy.promtool import rendered
from tests.deploy.watching import Prometheus, prometheus, until
from tests.drift.seen import Traffic, drawn
from tests.serving import Served, served

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
)
PANELS = [panel for dashboard in all_dashboards() for panel in dashboard.panels]


DRIFT = """
[drift]
drift_baseline = "baseline.json"
drift_window = 0.1
drift_min_requests = 100

[canary_set]
canary_data = "held-out"
canary_items = 3
canary_every = 1

[models.shop]

[experiments.trial]
model = "shop"
candidate = "shop"
changes = { max_tokens = 100000 }
unit = "request"
ramp = [0.5]
decides = "person"
"""


def ask(client: httpx2.Client, number: int) -> None:
    body = {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": f"What is it? {number if number % 2 else 0}"},
                    {
                        "type": "image_url",
                        "image_url": {"url": f"data:image/png;base64,{PIXEL}"},
                    },
                ],
            }
        ],
        "stream": number % 4 == 1,
        "max_tokens": 6,
    }
    headers = {"idempotency-key": f"key-{number}"} if number % 5 == 0 else {}
    reply = client.post("/v1/chat/completions", json=body, headers=headers)
    feedback = {"request_id": reply.headers.get("x-request-id", "none"), "rating": 4}
    client.post("/v1/feedback", json=feedback)


@contextmanager
def traffic(url: str) -> Iterator[None]:
    """Asks during the block, since rates need requests in their last seconds."""
    ended = threading.Event()

    def run() -> None:
        # A test ends the gateway.
        with suppress(httpx2.TransportError), httpx2.Client(base_url=url, timeout=30) as client:
            for number in itertools.count():
                ask(client, number)
                client.post("/predict", json={"prompt": "no image"})  # an error by code
                if ended.wait(0.2):
                    return

    asking = threading.Thread(target=run)
    asking.start()
    try:
        yield
    finally:
        ended.set()
        asking.join()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Prometheus]]:
    folder = tmp_path_factory.mktemp("live")
    baseline = take_baseline(
        [drawn(Traffic(), Random(0)) for _ in range(100)], source="", at=0.0, part_requests=500
    )
    write_baseline(folder / "baseline.json", "shop", baseline)
    (folder / "silkline.toml").write_text(DRIFT)
    options = ("--engine", "fake", "--machine-price", "2", "--near-duplicates", "true")
    with served(*options, folder=folder) as gateway:
        host, port = gateway.host_and_port
        settings = f'[monitoring]\nscrape_targets = ["{host}:{port}"]\nalertmanagers = []\n'
        with httpx2.Client(base_url=gateway.url, timeout=30) as client:
            for number in range(-239, 0, 2):  # a window of computed answers
                ask(client, number)
        (folder / "rendered").mkdir()
        rules = rendered(folder / "rendered", settings)
        with prometheus(rules) as running, traffic(gateway.url):
            yield gateway, running


def shown(panel: Panel) -> list[str]:
    """The queries of a panel, as Grafana asks them with all models chosen."""
    return [
        query.expr.replace("$model", ".*").replace("$__rate_interval", "30s")
        for query in panel.queries
    ]


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.title)
def test_a_panel_shows_data(panel: Panel, watched: tuple[Served, Prometheus]) -> None:
    _, running = watched
    if panel.title == "Refused":
        assert running.value("absent(silkline_refused_total)")
        return
    for query in shown(panel):
        until(partial(running.value, query), 30)


def test_the_rules_are_healthy(watched: tuple[Served, Prometheus]) -> None:
    _, running = watched
    until(lambda: running.value("silkline:engine_busy:ratio5m"), 30)
    rules = [rule for group in running.ask("rules")["groups"] for rule in group["rules"]]
    assert len(rules) > 30
    assert {(rule["health"], rule.get("lastError", "")) for rule in rules} == {("ok", "")}


def test_an_exemplar_names_a_request(watched: tuple[Served, Prometheus]) -> None:
    _, running = watched
    now = time.time()
    found = running.ask(
        "query_exemplars",
        query="silkline_request_seconds_bucket",
        start=str(now - 300),
        end=str(now),
    )
    ids = [each["labels"]["request_id"] for series in found for each in series["exemplars"]]
    assert ids
