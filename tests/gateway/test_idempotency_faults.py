"""Case 46 behind the gateway: one execution per key, whatever is lost on which way.

`tests/campaign/test_lost_on_the_way.py` cuts the way between client and gateway.
"""

import asyncio
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from silkline.config import RemoteSettings
from silkline.core import Sampling
from silkline.gateway.keys import fragment, new_key
from silkline.routing.pool import EnginePool
from silkline.routing.remote import AgreedModel, RemoteReplica
from tests.cache.redis_server import free_port
from tests.campaign.fault_proxy import Ending, FaultProxy, Toxics, fault_proxy
from tests.campaign.standing import metric
from tests.engines.asking import question
from tests.gateway.asking import asked, messages
from tests.routing.pools import answer
from tests.serving import Served, served

SLOW = "token_seconds=0.03,answer_words=30"
FAKE = ("--engine", "fake", "--cache-ttl", "0", "--engine-options")


def ask(server: Served, key: str, **fields: Any) -> httpx2.Response:
    body = asked(temperature=1.0, **fields)  # each execution has words of its own
    headers = {"Idempotency-Key": key}
    return httpx2.post(server.url + "/v1/chat/completions", json=body, headers=headers, timeout=60)


def said(response: httpx2.Response) -> str:
    assert response.status_code == 200, response.text
    return str(response.json()["choices"][0]["message"]["content"])


def running(server: Served) -> float:
    return metric(server.url, "silkline_replica_requests")


def given(server: Served) -> float:
    """Requests that the pool gave to the engine."""
    return metric(server.url, "silkline_replica_given_requests_total")


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it did not come to be"
        time.sleep(0.02)


@pytest.mark.slow
def test_a_worker_that_dies_in_between_costs_no_second_answer() -> None:
    with served(*FAKE, SLOW) as server, ThreadPoolExecutor(1) as threads:
        first = threads.submit(ask, server, "one")
        until(lambda: running(server) == 1)
        assert ask(server, "one").status_code == 409
        server.worker().send_signal(signal.SIGKILL)
        text = said(first.result(60))
        again = ask(server, "one")
        assert said(again) == text
        assert again.headers["idempotent-replayed"] == "true"
        assert metric(server.url, "silkline_routing_retries_total") == 1
        assert metric(server.url, "silkline_stage_seconds_count", stage="generate") == 1


@pytest.mark.slow
def test_a_gateway_that_dies_leaves_its_answers_and_frees_what_it_worked_on(tmp_path: Path) -> None:
    port = str(free_port())
    options = (*FAKE, SLOW, "--port", port, "--idempotency-store", str(tmp_path / "keys"))
    with ThreadPoolExecutor(1) as threads:
        with served(*options) as server:
            text = said(ask(server, "done"))
            cut = threads.submit(ask, server, "cut")
            until(lambda: running(server) == 1)
            server.process.kill()
            server.process.wait()
        with pytest.raises(httpx2.TransportError):
            cut.result(10)
    with served(*options) as server:
        assert said(ask(server, "done")) == text
        statuses = [ask(server, "cut").status_code]

        def answered() -> bool:
            statuses.append(ask(server, "cut").status_code)
            return statuses[-1] == 200

        until(answered)
        assert set(statuses) == {409, 200}


@pytest.mark.slow
def test_tenants_have_keys_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    keys = {name: new_key() for name in ("a", "b")}
    file.write_text("".join(fragment(name, key, None) for name, key in keys.items()))
    with served(*FAKE, "token_seconds=0", "--keys-file", str(file)) as server:

        def told(name: str, text: str) -> httpx2.Response:
            headers = {"Idempotency-Key": "one", "authorization": f"Bearer {keys[name]}"}
            body = asked(temperature=1.0) | {"messages": messages(text=text)}
            url = server.url + "/v1/chat/completions"
            return httpx2.post(url, json=body, headers=headers, timeout=30)

        first = told("a", "What?")
        other = told("b", "Why?")
        assert said(first) != said(other)
        assert said(told("a", "What?")) == said(first)
        assert told("a", "Why?").status_code == 422
        refused = httpx2.post(
            server.url + "/v1/chat/completions", json={}, headers={"Idempotency-Key": "one"}
        )
        assert refused.status_code == 401
        assert "idempotent-replayed" not in refused.headers


@pytest.fixture(scope="module")
def far() -> Iterator[Served]:
    with served(*FAKE, "token_seconds=0.01") as server:
        yield server


class HealedBy(set[int]):
    """The connections that a proxy has cut; the first cut is the last."""

    def __init__(self, proxy: FaultProxy) -> None:
        super().__init__()
        self._proxy = proxy

    def add(self, port: int) -> None:
        super().add(port)
        self._proxy.up = self._proxy.down = Toxics()


LOST = {
    "the request on its way": ("up", Toxics(limit_bytes=200, ending=Ending.RESET)),
    "the reply before its first byte": ("down", Toxics(limit_bytes=0, ending=Ending.RESET)),
    "the reply in its head": ("down", Toxics(limit_bytes=100, ending=Ending.CLOSE)),
    "the whole reply": ("down", Toxics(limit_bytes=0, latency_seconds=1.5, ending=Ending.CLOSE)),
}


@pytest.mark.parametrize("lost", LOST)
async def test_what_is_lost_on_the_way_to_a_far_silkline_is_executed_once(
    far: Served, lost: str
) -> None:
    """The far one computes on when the way breaks, and the next attempt finds its answer."""
    sampling = Sampling(max_tokens=60, temperature=1.0)
    before = await asyncio.to_thread(given, far)
    async with fault_proxy(far.host_and_port[1]) as proxy:
        remote = RemoteSettings(url=f"http://127.0.0.1:{proxy.port}")
        pool = EnginePool([RemoteReplica("far", remote, None, AgreedModel())])
        await pool.start()
        proxy.reset_all()  # the probe's connection, which is past its first bytes
        await asyncio.sleep(0.05)
        proxy.cut = HealedBy(proxy)
        direction, toxics = LOST[lost]
        setattr(proxy, direction, toxics)
        keyed = replace(question(sampling=sampling), idempotency_key=f"key of {lost}")
        first = await answer(pool, keyed)
        again = await answer(pool, keyed)
        await pool.aclose()
        assert proxy.cut
    assert first.text == again.text
    assert await asyncio.to_thread(given, far) == before + 1
