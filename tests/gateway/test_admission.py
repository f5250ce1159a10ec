"""What clients see of admission: limits of their own, early refusals, smaller pictures."""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from silkline.gateway.keys import fragment, new_key
from tests.campaign.standing import metric
from tests.gateway.asking import asked
from tests.pictures import data_url, encoded
from tests.serving import served

CHAT = "/v1/chat/completions"


def keys_file(path: Path, **limits: str) -> dict[str, dict[str, str]]:
    """A keys file with a tenant for each name; gives the headers that each sends."""
    headers = {}
    with path.open("w") as file:
        for name, lines in limits.items():
            key = new_key()
            headers[name] = {"authorization": f"Bearer {key}"}
            file.write(fragment(name, key, None).replace(f"[tenants.{name}]", ""))
            file.write(f"[tenants.{name}]\n{lines}\n")
    return headers


@pytest.fixture(scope="module")
def tenants(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, httpx2.Client]]:
    file = tmp_path_factory.mktemp("keys") / "keys.toml"
    headers = keys_file(
        file, few="requests_per_minute = 3", small="tokens_per_minute = 60", shop=""
    )
    with served("--engine", "fake", "--keys-file", str(file)) as running:
        clients = {
            name: httpx2.Client(base_url=running.url, headers=sent, timeout=30)
            for name, sent in headers.items()
        }
        yield clients
        for client in clients.values():
            client.close()


def ask(http: httpx2.Client, width: int, **fields: object) -> httpx2.Response:
    return http.post(CHAT, json=asked(data_url(encoded(width=width)), **fields))


def test_a_tenant_is_held_to_its_requests_a_minute(tenants: dict[str, httpx2.Client]) -> None:
    replies = [ask(tenants["few"], 300) for _ in range(5)]
    assert [reply.status_code for reply in replies] == [200, 200, 200, 429, 429]
    refused = replies[-1]
    assert refused.json()["error"]["code"] == "rate_limited"
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert ask(tenants["shop"], 300).status_code == 200


def test_a_tenant_is_held_to_its_tokens_a_minute(tenants: dict[str, httpx2.Client]) -> None:
    codes = [ask(tenants["small"], 310 + n, max_tokens=20).status_code for n in range(4)]
    assert codes[0] == 200
    assert codes[-1] == 429


def test_tenants_do_not_see_each_others_answers(tenants: dict[str, httpx2.Client]) -> None:
    states = [
        ask(tenants[name], 320, max_tokens=1).headers.get("x-silkline-cache")
        for name in ("shop", "shop")
    ]
    assert states == ["miss", "hit"]
    again = ask(tenants["small"], 320, max_tokens=1)
    assert again.headers.get("x-silkline-cache") in {"miss", None}


@pytest.mark.slow
def test_too_much_for_the_slo_is_refused_early() -> None:
    slow = ("--engine-options", "token_seconds=0.02,answer_words=10", "--max-batch", "4")
    with (
        served("--engine", "fake", *slow, "--slo", "0.5", "--cache-ttl", "0") as running,
        httpx2.Client(base_url=running.url, timeout=30) as http,
    ):
        for _ in range(3):  # now it is known how long answers take
            assert ask(http, 330, max_tokens=16).status_code == 200

        def timed(place: int) -> tuple[httpx2.Response, float]:
            began = time.monotonic()
            return ask(http, 331 + place, max_tokens=16), time.monotonic() - began

        with ThreadPoolExecutor(40) as pool:
            replies = list(pool.map(timed, range(80)))
        codes = {reply.status_code for reply, _ in replies}
        assert codes == {200, 503}
        for reply, _ in replies:
            if reply.status_code == 503:
                assert reply.json()["error"]["code"] == "overloaded"
                assert int(reply.headers["retry-after"]) >= 1
        assert ask(http, 500, max_tokens=16).status_code == 200
        refused = http.get("/metrics").text
        labels = 'model="silkline-fake",reason="too_late",tenant="anyone"'
        assert f"silkline_refused_total{{{labels}}}" in refused


@pytest.mark.slow
def test_a_full_queue_still_gives_kept_answers() -> None:
    slow = ("--engine-options", "token_seconds=0.2,answer_words=16", "--max-batch", "4")
    with (
        served("--engine", "fake", *slow, "--max-queue", "1") as running,
        httpx2.Client(base_url=running.url, timeout=30) as http,
        ThreadPoolExecutor(8) as pool,
    ):
        states = [ask(http, 360, max_tokens=1).headers["x-silkline-cache"] for _ in range(3)]
        assert states == ["miss", "hit", "hit"]
        full: list[Future[httpx2.Response]] = []
        limit = time.monotonic() + 10
        while not metric(running.url, "silkline_queue_waiting"):
            assert time.monotonic() < limit
            if len(full) == metric(running.url, "silkline_queue_running"):
                full.append(pool.submit(ask, http, 361 + len(full), max_tokens=16))
        refused = ask(http, 370, max_tokens=16)
        assert refused.status_code == 503
        assert "Too many requests wait" in refused.json()["error"]["message"]
        assert ask(http, 360, max_tokens=1).headers["x-silkline-cache"] == "hit"
        assert ask(http, 360, max_tokens=2).status_code == 503  # known, but not answered yet
        assert {one.result().status_code for one in full} == {200}


@pytest.mark.slow
def test_pictures_get_smaller_under_load_and_every_answer_says_so() -> None:
    options = "token_seconds=0.02,answer_words=10,pixels_per_token=784"
    slow = ("--engine-options", options, "--max-batch", "2", "--slo", "20")
    with (
        served("--engine", "fake", *slow, "--resolution-curve", "0.02=0.25") as running,
        httpx2.Client(base_url=running.url, timeout=30) as http,
    ):
        kept = ask(http, 340, max_tokens=16)
        full = int(kept.headers["x-silkline-pixel-budget"])
        assert kept.json()["silkline"]["pixel_budget"] == full
        with ThreadPoolExecutor(16) as pool:
            replies = list(pool.map(lambda n: ask(http, 341 + n, max_tokens=16), range(32)))
            again = ask(http, 340, max_tokens=16)
        budgets = {
            int(reply.headers["x-silkline-pixel-budget"])
            for reply in replies
            if reply.status_code == 200
        }
        assert full // 4 in budgets
        assert again.headers["x-silkline-cache"] == "hit"
        assert int(again.headers["x-silkline-pixel-budget"]) == full
