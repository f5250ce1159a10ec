"""Sampling of requests that name no parameter: greedy, or as the model recommends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.serving import served

CHAT = "/v1/chat/completions"
OPTIONS = "default_temperature=1.5,default_repetition_penalty=5"
ENGINE = ("--engine", "fake", "--engine-options", OPTIONS)


@pytest.fixture(scope="module")
def as_the_model() -> Iterator[httpx2.Client]:
    arguments = (*ENGINE, "--sampling-defaults", "model")
    with served(*arguments) as server, httpx2.Client(base_url=server.url) as client:
        yield client


@pytest.fixture(scope="module")
def greedy() -> Iterator[httpx2.Client]:
    with served(*ENGINE) as server, httpx2.Client(base_url=server.url) as client:
        yield client


def said(client: httpx2.Client, times: int = 1, **fields: Any) -> tuple[set[str], set[str]]:
    """The answers to one question, and what the cache did."""
    body = {"messages": [{"role": "user", "content": "What is this?"}], **fields}
    replies = [client.post(CHAT, json=body) for _ in range(times)]
    assert all(reply.status_code == 200 for reply in replies), replies[0].text
    texts = {reply.json()["choices"][0]["message"]["content"] for reply in replies}
    return texts, {reply.headers["x-silkline-cache"] for reply in replies}


def test_the_default_is_greedy_and_cached(greedy: httpx2.Client) -> None:
    texts, states = said(greedy, 3)
    assert len(texts) == 1
    assert states == {"miss", "hit"}


def test_the_model_can_decide(as_the_model: httpx2.Client, greedy: httpx2.Client) -> None:
    texts, states = said(as_the_model, 5)
    assert len(texts) == 5
    assert "hit" not in states
    cold, _ = said(as_the_model, 3, temperature=0, repetition_penalty=1)
    assert cold == said(greedy)[0]


def test_only_what_the_request_does_not_name_is_the_models(as_the_model: httpx2.Client) -> None:
    seeded, states = said(as_the_model, 2, seed=7)
    assert len(seeded) == 1
    assert states == {"miss", "hit"}
    explicit = said(as_the_model, 1, seed=7, temperature=1.5, repetition_penalty=5)
    assert explicit == (seeded, {"hit"})
    assert said(as_the_model, 1, seed=7, repetition_penalty=1)[0] != seeded
