"""What the rendered nginx and HAProxy do, by real ones in front of servers that echo."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from tests.cache.redis_server import free_port
from tests.deploy.balancers import Upstream, balancer, upstream_servers

NAMES = ("nginx", "haproxy")
WEIGHTS = (3, 2, 1)
KEY = {"idempotency-key": "order-1"}


@dataclass
class Site:
    """A balancer in front of three servers, of weights 3, 2 and 1."""

    client: httpx2.Client
    upstreams: list[Upstream]


@pytest.fixture(scope="module", params=NAMES)
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp(request.param)
    with upstream_servers(3) as made:
        listed = [
            f"{each.address} weight={weight}" for each, weight in zip(made, WEIGHTS, strict=True)
        ]
        deploy = 'client_rate = 0\nclient_connections = 0\ntrusted_proxies = ["127.0.0.0/8"]'
        limits = "[limits]\nmax_body_bytes = 4096"
        with (
            balancer(request.param, folder, listed, deploy=deploy, settings=limits) as url,
            httpx2.Client(base_url=url, timeout=30) as client,
        ):
            yield Site(client, made)


def test_the_shares_are_the_weights(site: Site) -> None:
    asked = Counter(site.client.get("/").json()["port"] for _ in range(120))
    ports = [each.server_port for each in site.upstreams]
    assert [asked[port] for port in ports] == pytest.approx([60, 40, 20], abs=2)


@pytest.mark.parametrize("sent", ["shop:42.a-b_c", "x" * 128])
def test_a_well_formed_request_id_is_kept(site: Site, sent: str) -> None:
    reply = site.client.get("/", headers={"x-request-id": sent})
    assert reply.json()["headers"]["x-request-id"] == sent


@pytest.mark.parametrize("sent", [None, "two words", "x" * 129, "a;b"])
def test_another_request_id_is_replaced(site: Site, sent: str | None) -> None:
    headers = {"x-request-id": sent} if sent else {}
    made = [
        site.client.get("/", headers=headers).json()["headers"]["x-request-id"] for _ in range(2)
    ]
    assert len({*made, sent}) == 3


def test_what_a_client_says_of_itself_is_overwritten(site: Site) -> None:
    sent = {"x-real-ip": "6.6.6.6", "forwarded": "for=6.6.6.6", "x-forwarded-proto": "https"}
    found = site.client.get("/", headers=sent).json()["headers"]
    assert (found["x-real-ip"], found["x-forwarded-for"]) == ("127.0.0.1", "127.0.0.1")
    assert found["x-forwarded-proto"] == "http"
    assert not found.get("forwarded")


def test_a_trusted_proxy_names_the_client(site: Site) -> None:
    sent = {"x-forwarded-for": "6.6.6.6, 198.51.100.7"}
    found = site.client.get("/", headers=sent).json()["headers"]
    assert (found["x-real-ip"], found["x-forwarded-for"]) == ("198.51.100.7", "198.51.100.7")


def test_a_body_that_is_too_large_is_refused_here(site: Site) -> None:
    before = sum(each.requests for each in site.upstreams)
    reply = site.client.post("/predict", content=b"x" * 4097)
    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "request_too_large")
    assert sum(each.requests for each in site.upstreams) == before
    assert site.client.post("/predict", content=b"x" * 4096).json()["bytes"] == 4096


def test_metrics_are_not_for_clients(site: Site) -> None:
    reply = site.client.get("/metrics")
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "not_found")


def test_a_stream_is_passed_on_as_it_comes(site: Site) -> None:
    for each in site.upstreams:
        each.proceed.clear()
    with site.client.stream("POST", "/stream") as reply:
        lines = reply.iter_lines()
        assert next(lines) == "data: 1"  # the server sends the second one only now
        for each in site.upstreams:
            each.proceed.set()
        assert "data: 2" in list(lines)


@pytest.fixture(params=NAMES)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """Two servers of one weight, of which the first breaks every connection."""
    with upstream_servers(2) as made:
        made[0].breaks = True
        with (
            balancer(request.param, tmp_path, [each.address for each in made]) as url,
            httpx2.Client(base_url=url, timeout=30) as client,
        ):
            yield Site(client, made)


def test_a_post_that_was_sent_is_sent_again_with_an_idempotency_key_only(pair: Site) -> None:
    broken, whole = pair.upstreams
    replies = [pair.client.post("/predict", content=b"x") for _ in range(2)]
    assert sorted(reply.status_code for reply in replies) == [200, 502]
    failed = next(reply for reply in replies if reply.status_code == 502)
    assert (failed.json()["error"]["code"], failed.headers["retry-after"]) == ("overloaded", "1")
    assert (broken.requests, whole.requests) == (1, 1)


def test_one_with_a_key_is_sent_again(pair: Site) -> None:
    broken, whole = pair.upstreams
    replies = [pair.client.post("/predict", content=b"x", headers=KEY) for _ in range(2)]
    assert [reply.status_code for reply in replies] == [200, 200]
    assert (broken.requests > 0, whole.requests) == (True, 2)


@pytest.mark.parametrize("name", NAMES)
def test_a_dead_server_loses_no_request(tmp_path: Path, name: str) -> None:
    with upstream_servers(1) as made:
        listed = [f"127.0.0.1:{free_port()} weight=3", made[0].address]
        with (
            balancer(name, tmp_path, listed) as url,
            httpx2.Client(base_url=url, timeout=30) as client,
        ):
            codes = {client.post("/predict", content=b"x").status_code for _ in range(12)}
    assert codes == {200}


@pytest.mark.parametrize("name", NAMES)
def test_an_address_is_limited_and_its_probes_are_not(tmp_path: Path, name: str) -> None:
    deploy = "client_rate = 0.1\nclient_burst = 4"
    with (
        upstream_servers(1) as made,
        balancer(name, tmp_path, [made[0].address], deploy=deploy) as url,
        httpx2.Client(base_url=url, timeout=30) as client,
    ):
        replies = [client.post("/predict", content=b"x") for _ in range(8)]
        probes = {client.get("/ready").status_code for _ in range(8)}
        # Nobody is trusted here, so another client's name is of no use.
        told = client.post("/predict", content=b"x", headers={"x-forwarded-for": "6.6.6.6"})
    assert [reply.status_code for reply in replies] == [200] * 5 + [429] * 3
    assert json.loads(replies[-1].text)["error"]["code"] == "rate_limited"
    assert replies[-1].headers["retry-after"] == "1"
    assert (probes, told.status_code) == ({200}, 429)
