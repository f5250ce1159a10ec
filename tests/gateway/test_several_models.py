"""Several models behind one gateway."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest

from tests.campaign.standing import metric
from tests.cli.test_main import run
from tests.serving import Served, served

TABLES = """
[engine]
engine = "fake"

[models.first]
aliases = ["one", "Эins"]
sampling_defaults = "model"
engine_options = { mode = "echo", image_tokens = "7", context_length = "500" }

[models."org/second"]
max_batch = 3
engine_options = { mode = "echo" }
"""


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("two")
    (folder / "silkline.toml").write_text(TABLES, encoding="utf-8")
    with served(folder=folder) as running:
        yield running


@pytest.fixture
def http(two: Served) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=two.url, timeout=60) as client:
        yield client


def ask(http: httpx2.Client, model: str | None, text: str = "hi") -> httpx2.Response:
    body = {"messages": [{"role": "user", "content": text}]}
    return http.post("/v1/chat/completions", json=body | ({"model": model} if model else {}))


def test_all_models_are_listed_with_what_they_can_do(http: httpx2.Client) -> None:
    first, second = http.get("/v1/models").json()["data"]
    assert (first["id"], first["aliases"]) == ("first", ["one", "Эins"])
    assert (first["image_tokens"], first["context_length"]) == (7, 500)
    assert second["id"] == "org/second"
    assert {"engine", "revision", "precision"} <= second.keys()
    assert second["capabilities"] == {
        "images": True,
        "tools": True,
        "structured_output": True,
        "reasoning": True,
    }
    assert http.get("/v1/models/org/second").json() == second
    assert http.get("/v1/models/one").json() == first


@pytest.mark.parametrize(
    ("asked", "answers"),
    [(None, "first"), ("first", "first"), ("first@0", "first"), ("one", "first"), ("Эins", "first"),
     ("org/second", "org/second"), ("org/second@0", "org/second")],
)  # fmt: skip
def test_a_request_chooses_its_model(http: httpx2.Client, asked: str | None, answers: str) -> None:
    reply = ask(http, asked)
    assert (reply.status_code, reply.json()["model"]) == (200, answers)
    assert reply.headers["x-silkline-model"] == f"{answers}@0"


@pytest.mark.parametrize("unknown", ["second", "first@1", "org/second@", "silkline-fake", ""])
def test_an_unknown_model_is_not_found(http: httpx2.Client, unknown: str) -> None:
    reply = http.post(
        "/v1/chat/completions",
        json={"model": unknown, "messages": [{"role": "user", "content": "hi"}]},
    )
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "model_not_found")
    assert "first or org/second" in reply.json()["error"]["message"]


def test_two_models_share_no_answers(http: httpx2.Client) -> None:
    said = [ask(http, model, "cached").headers["x-silkline-cache"] for model in ("first", "one")]
    assert said == ["miss", "hit"]
    assert ask(http, "org/second", "cached").headers["x-silkline-cache"] == "miss"


def test_each_model_has_its_own_queue_and_replicas(two: Served, http: httpx2.Client) -> None:
    for model, capacity in (("first", 20), ("org/second", 5)):
        assert metric(two.url, "silkline_queue_capacity", model=model) == capacity
        assert metric(two.url, "silkline_replica_ready", model=model, replica="0") == 1
        assert metric(two.url, "silkline_model_loaded", model=model) == 1
    before = metric(two.url, "silkline_admitted_total", model="org/second")
    ask(http, "org/second", "counted")
    assert metric(two.url, "silkline_admitted_total", model="org/second") == before + 1


def test_models_that_do_not_fit_are_refused_at_start_with_the_sum() -> None:
    two = ("up", "--port", "0", "--engine", "fake", "a", "b")
    refused = run(*two, "--kv-cache-bytes", str(10**15))
    assert refused.returncode == 2
    assert "need 2000.00 TB of memory together" in refused.stderr
    assert "a 1000.00 TB (weights 0 B, KV cache 1000.00 TB), b 1000.00 TB" in refused.stderr
