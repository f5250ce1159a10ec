"""What clients see of the cache of answers."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
from openai import OpenAI

from tests.gateway.asking import MODEL, asked, messages
from tests.gateway.faces.test_chat import check_chunks, streamed, text_of
from tests.pictures import data_url, encoded
from tests.serving import served

CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def fresh() -> Iterator[httpx2.Client]:
    with (
        served("--engine", "fake", "--engine-options", "token_seconds=0.02") as running,
        httpx2.Client(base_url=running.url, timeout=30) as client,
    ):
        yield client


def ask(http: httpx2.Client, place: int, **headers: str) -> httpx2.Response:
    body = asked(data_url(encoded(width=100 + place)))
    return http.post(CHAT, json=body, headers=headers)


def state(reply: httpx2.Response) -> str:
    assert reply.status_code == 200
    return str(reply.headers["x-silkline-cache"])


def test_the_same_question_is_answered_from_the_cache(fresh: httpx2.Client) -> None:
    first, second = ask(fresh, 1), ask(fresh, 1)
    assert (state(first), state(second)) == ("miss", "hit")
    assert first.json()["choices"] == second.json()["choices"]
    usage = second.json()["usage"]
    assert usage["prompt_tokens_details"]["cached_tokens"] == usage["prompt_tokens"]
    assert "cache" in second.json()["silkline"]["timeline"]


def test_another_picture_or_question_is_not(fresh: httpx2.Client) -> None:
    ask(fresh, 2)
    assert state(ask(fresh, 3)) == "miss"
    other = {"model": MODEL, "messages": messages(data_url(encoded(width=102)), text="Why?")}
    assert state(fresh.post(CHAT, json=other)) == "miss"


def test_the_same_pixels_in_another_format_are_the_same_picture(fresh: httpx2.Client) -> None:
    for kind, expected in (("PNG", "miss"), ("BMP", "hit")):
        picture = data_url(encoded(width=77, kind=kind))
        assert state(fresh.post(CHAT, json=asked(picture))) == expected


def test_a_hit_streams_the_same_text(fresh: httpx2.Client) -> None:
    text = ask(fresh, 4).json()["choices"][0]["message"]["content"]
    base_url = str(fresh.base_url).rstrip("/") + "/v1"
    with OpenAI(base_url=base_url, api_key="none") as openai:
        chunks = streamed(openai, messages(data_url(encoded(width=104))))
    assert text_of(chunks) == text
    check_chunks(chunks, "stop")


def test_a_client_may_leave_the_cache_out(fresh: httpx2.Client) -> None:
    ask(fresh, 5)
    assert state(ask(fresh, 5, **{"cache-control": "no-store"})) == "bypass"
    assert state(ask(fresh, 5, **{"cache-control": "no-cache"})) == "miss"
    assert state(ask(fresh, 5)) == "hit"


@pytest.mark.slow
def test_sampling_without_a_seed_is_not_cached(fresh: httpx2.Client) -> None:
    for _ in range(2):
        reply = fresh.post(CHAT, json=asked(data_url(encoded()), temperature=1.0))
        assert state(reply) == "bypass"
    seeded = asked(data_url(encoded()), temperature=1.0, seed=1)
    assert [state(fresh.post(CHAT, json=seeded)) for _ in range(2)] == ["miss", "hit"]


def test_the_same_question_at_the_same_time_is_computed_once(fresh: httpx2.Client) -> None:
    with ThreadPoolExecutor(12) as pool:
        replies = list(pool.map(lambda _: ask(fresh, 6), range(12)))
    states = [state(reply) for reply in replies]
    assert states.count("miss") == 1
    assert set(states) <= {"miss", "coalesced", "hit"}
    assert len({reply.json()["choices"][0]["message"]["content"] for reply in replies}) == 1


def test_predict_shares_the_cache_and_metrics_count_it(fresh: httpx2.Client) -> None:
    picture = encoded(width=120)
    outcomes = [
        fresh.post("/predict", files={"image": picture}).headers["x-silkline-cache"]
        for _ in range(2)
    ]
    assert outcomes == ["miss", "hit"]
    metrics = fresh.get("/metrics").text
    assert 'silkline_cache_reads_total{outcome="hit",tier="memory"}' in metrics
    assert 'cache="hit"' in metrics
    for name in ("evictions_total", "writes_dropped_total", "writes_waiting"):
        assert f'silkline_cache_{name}{{tier="memory"}} 0.0' in metrics
    assert "silkline_cache_computing 0.0" in metrics


@pytest.mark.slow
def test_a_cache_that_keeps_nothing() -> None:
    with (
        served("--engine", "fake", "--cache-ttl", "0") as running,
        httpx2.Client(base_url=running.url) as http,
    ):
        assert [state(ask(http, 1)) for _ in range(2)] == ["miss", "miss"]


@pytest.mark.slow
def test_answers_outlive_the_server_on_disk(tmp_path: object) -> None:
    disk = ("--engine", "fake", "--cache-disk", f"{tmp_path}/answers.db")
    for expected in ("miss", "hit"):
        with served(*disk) as running, httpx2.Client(base_url=running.url) as http:
            assert state(ask(http, 1)) == expected
