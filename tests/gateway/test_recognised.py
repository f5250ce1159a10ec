"""Pictures that the gateway has seen are known again without being fetched or decoded."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from tests.gateway.asking import asked
from tests.origin import Origin
from tests.pictures import data_url, encoded
from tests.serving import served

CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def fresh(origin: Origin) -> Iterator[httpx2.Client]:
    private = ("--private-hosts", f"127.0.0.1:{origin.port}")
    slow = ("--engine-options", "token_seconds=0.02")
    with (
        served("--engine", "fake", *slow, *private) as running,
        httpx2.Client(base_url=running.url, timeout=30) as client,
    ):
        yield client


def stages(reply: httpx2.Response) -> set[str]:
    assert reply.status_code == 200
    return set(reply.json()["silkline"]["timeline"])


def test_a_kept_answer_needs_no_decoding(fresh: httpx2.Client) -> None:
    body = asked(data_url(encoded(width=201)))
    first, second = (fresh.post(CHAT, json=body) for _ in range(2))
    assert {"decode", "generate"} <= stages(first)
    assert stages(second) == {"cache"}
    assert first.json()["choices"] == second.json()["choices"]
    budgets = {reply.headers["x-silkline-pixel-budget"] for reply in (first, second)}
    assert budgets == {str(1024 * 1024)}


def test_another_question_about_a_known_picture_is_computed(fresh: httpx2.Client) -> None:
    picture = data_url(encoded(width=202))
    fresh.post(CHAT, json=asked(picture))
    other = fresh.post(CHAT, json=asked(picture, max_tokens=3))
    assert other.headers["x-silkline-cache"] == "miss"
    assert {"decode", "generate"} <= stages(other)


def test_a_url_is_fetched_once(fresh: httpx2.Client, origin: Origin) -> None:
    url = origin.put("/known.jpg", encoded(width=203))
    states = [fresh.post(CHAT, json=asked(url)).headers["x-silkline-cache"] for _ in range(3)]
    assert states == ["miss", "hit", "hit"]
    assert origin.asked("/known.jpg") == 1


def test_no_cache_fetches_again(fresh: httpx2.Client, origin: Origin) -> None:
    url = origin.put("/changing.jpg", encoded(width=204))
    fresh.post(CHAT, json=asked(url))
    origin.put("/changing.jpg", encoded(width=205))
    again = fresh.post(CHAT, json=asked(url), headers={"cache-control": "no-cache"})
    assert again.headers["x-silkline-cache"] == "miss"
    assert origin.asked("/changing.jpg") == 2


def test_many_who_ask_the_same_at_once_fetch_and_compute_once(
    fresh: httpx2.Client, origin: Origin
) -> None:
    url = origin.put("/popular.jpg", encoded(width=206))
    with ThreadPoolExecutor(50) as pool:
        replies = list(pool.map(lambda _: fresh.post(CHAT, json=asked(url)), range(100)))
    states = [reply.headers["x-silkline-cache"] for reply in replies]
    assert states.count("miss") == 1
    assert origin.asked("/popular.jpg") == 1
    assert len({reply.json()["choices"][0]["message"]["content"] for reply in replies}) == 1


def test_limits_hold_for_known_pictures_too(fresh: httpx2.Client) -> None:
    pictures = [data_url(encoded(width=207))] * 17
    fresh.post(CHAT, json=asked(pictures[0]))
    assert fresh.post(CHAT, json=asked(*pictures)).status_code == 413
