"""More tokens than there can be are the most that there can be; and the client is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.gateway.asking import asked, messages
from tests.pictures import data_url, encoded
from tests.serving import served

CHAT = "/v1/chat/completions"
HEADER = "x-silkline-max-tokens"
CONTEXT = 200


@pytest.fixture(scope="module")
def small() -> Iterator[httpx2.Client]:
    """At most 12 tokens an answer; answers have 40 words."""
    with served(
        "--engine", "fake", "--engine-options", "answer_words=40", "--max-answer-tokens", "12"
    ) as running, httpx2.Client(base_url=running.url, timeout=30) as client:  # fmt: skip
        yield client


@pytest.fixture(scope="module")
def short() -> Iterator[httpx2.Client]:
    """A context of 200 tokens; answers have 400 words."""
    options = f"answer_words=400,context_length={CONTEXT}"
    with (
        served("--engine", "fake", "--engine-options", options) as running,
        httpx2.Client(base_url=running.url, timeout=30) as client,
    ):
        yield client


def good(reply: httpx2.Response) -> dict[str, Any]:
    assert reply.status_code == 200, reply.text
    answer: dict[str, Any] = reply.json()
    return answer


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("value", [13, 8192, 8192.0, 1e15, 2**31, 2**63, 2**70])
def test_too_many_tokens_are_clamped(small: httpx2.Client, field: str, value: float) -> None:
    reply = small.post(CHAT, json=asked(**{field: value}))
    answer = good(reply)
    assert answer["usage"]["completion_tokens"] == 12
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["silkline"]["max_tokens"] == 12
    assert reply.headers[HEADER] == "12"


def test_what_fits_is_not_told(small: httpx2.Client) -> None:
    for value in (1, 12):
        reply = small.post(CHAT, json=asked(max_tokens=value))
        assert good(reply)["usage"]["completion_tokens"] == value
        assert "max_tokens" not in reply.json()["silkline"]
        assert HEADER not in reply.headers


def test_predict_tells_it_too(small: httpx2.Client) -> None:
    url = data_url(encoded())
    for body in ({"json": {"image_url": url, "max_tokens": 99}},
                 {"files": {"image": encoded()}, "data": {"max_tokens": "99"}}):  # fmt: skip
        reply = small.post("/predict", **body)
        assert good(reply)["silkline"] == {"max_tokens": 12}
        assert reply.headers[HEADER] == "12"
    reply = small.post("/predict", json={"image_url": url, "max_tokens": 3})
    assert "silkline" not in good(reply)


def test_requests_that_are_clamped_to_the_same_are_the_same_question(small: httpx2.Client) -> None:
    url = data_url(encoded(width=301))
    replies = [small.post(CHAT, json=asked(url, max_tokens=n)) for n in (50, 9000, 12, 13)]
    assert [reply.headers["x-silkline-cache"] for reply in replies] == ["miss", *["hit"] * 3]
    assert [reply.headers.get(HEADER) for reply in replies] == ["12", "12", None, "12"]


def test_a_stream_tells_it_in_its_head_and_at_its_end(small: httpx2.Client) -> None:
    body = asked(max_tokens=500, stream=True, stream_options={"include_usage": True})
    reply = small.post(CHAT, json=body)
    lines = [line[6:] for line in reply.text.splitlines() if line.startswith("data: {")]
    chunks = [json.loads(line) for line in lines]
    assert reply.headers[HEADER] == "12"
    finish = next(one for one in chunks if one["choices"] and one["choices"][0]["finish_reason"])
    assert finish["silkline"]["max_tokens"] == 12
    assert chunks[-1]["silkline"]["max_tokens"] == 12


def test_the_models_context_is_a_limit(short: httpx2.Client) -> None:
    """The prompt takes some of it, so that the answer ends before."""
    for _ in range(2):  # the second time from the cache
        reply = short.post(CHAT, json=asked(max_tokens=4096))
        answer = good(reply)
        usage = answer["usage"]
        assert usage["total_tokens"] == CONTEXT
        assert answer["choices"][0]["finish_reason"] == "length"
        assert answer["silkline"]["max_tokens"] == usage["completion_tokens"] < CONTEXT
        assert reply.headers[HEADER] == str(usage["completion_tokens"])
    new = {"messages": messages(text="Who?"), "stream": True}
    reply = short.post(CHAT, json=asked(max_tokens=4096) | new)
    assert reply.headers[HEADER] == str(CONTEXT)
