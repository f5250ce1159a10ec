"""The shadow of an experiment, behind a real server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.campaign.standing import metric
from tests.cli.test_main import run
from tests.observe.shipping.log_server import wait_for
from tests.pictures import data_url, encoded
from tests.serving import Served, served

TABLES = """
[engine]
engine = "fake"
engine_options = { mode = "echo" }

[models.shop]
[models.other]
[models.next]
[models.third]
[models.spare]
[models.extra]
[models.broken]
engine_options = { oom_on_text = "hi" }

[models.slow]
engine_options = { mode = "echo", token_seconds = "0.02" }

[admin]
admin_without_keys = "loopback"

[history]
history_content = { anyone = 600 }

[experiments.worse]
model = "shop"
candidate = "shop"
changes = { prefix = "Say: " }
ramp = [0, 0.5]
step_requests = 20
shadow = { share = 1, at_once = 16, scorers = { agreement = 0.05 } }

[experiments.same]
model = "other"
candidate = "next"
ramp = [0, 0.5]
step_requests = 20
shadow = { share = 1, at_once = 16, scorers = { agreement = 0.2 } }

[experiments.left]
model = "slow"
candidate = "slow"
changes = { prefix = "Say: " }
ramp = [0]
shadow = { share = 1 }

[experiments.faulty]
model = "third"
candidate = "broken"
ramp = [0]
shadow = { share = 1, at_once = 16 }
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("shadow")
    (folder / "silkline.toml").write_text(TABLES, encoding="utf-8")
    with served(folder=folder) as running:
        yield running


@pytest.fixture
def http(server: Served) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=server.url, timeout=60) as client:
        yield client


def ask(http: httpx2.Client, model: str, text: str) -> httpx2.Response:
    body = {"model": model, "temperature": 0, "messages": [{"role": "user", "content": text}]}
    return http.post("/v1/chat/completions", json=body).raise_for_status()


def shown(http: httpx2.Client, name: str) -> dict[str, Any]:
    return dict(http.get(f"/admin/experiments/{name}").raise_for_status().json())


def compared(http: httpx2.Client, name: str) -> int:
    return int(shown(http, name)["shadow"]["requests"]["compared"])


def test_a_candidate_that_answers_otherwise_is_rolled_back_and_was_never_served(
    server: Served, http: httpx2.Client
) -> None:
    for number in range(40):
        reply = ask(http, "shop", f"word{number}")
        assert reply.json()["choices"][0]["message"]["content"] == f"word{number}"
        assert "x-silkline-experiment" not in reply.headers
        wait_for(lambda: not shown(http, "worse")["shadow"]["in_progress"], 20)
    wait_for(lambda: shown(http, "worse")["serving"] == "model", 20)
    found = shown(http, "worse")
    assert "its mean score by agreement is -1.000" in found["decisions"][-1]["reason"]
    assert found["shadow"]["seconds"] > 0
    counted = metric(
        server.url, "silkline_experiment_shadow_requests_total", experiment="worse",
        outcome="compared",
    )  # fmt: skip
    assert counted == found["shadow"]["requests"]["compared"]
    assert metric(server.url, "silkline_experiment_score", experiment="worse") == -1


def test_a_candidate_that_agrees_gets_requests_and_its_shadow_no_cache(
    http: httpx2.Client,
) -> None:
    for number in range(60):
        ask(http, "other", f"text{number}")
        wait_for(lambda: not shown(http, "same")["shadow"]["in_progress"], 20)
        if shown(http, "same")["share"] == 0.5:
            break
    wait_for(lambda: shown(http, "same")["share"] == 0.5, 20)
    assert shown(http, "same")["evidence"]["scores"]["agreement"]["mean"] == 0
    assert ask(http, "next", "text0").headers["x-silkline-cache"] == "miss"


def test_a_candidate_that_fails_in_the_shadow_does_not_touch_live_answers(
    http: httpx2.Client,
) -> None:
    for _ in range(5):
        assert ask(http, "third", "hi").json()["choices"][0]["message"]["content"] == "hi"
    wait_for(lambda: not shown(http, "faulty")["shadow"]["in_progress"], 20)
    found = shown(http, "faulty")
    assert found["shadow"]["requests"]["busy"] == 5
    assert found["serving"] == "split"


def test_an_answer_whose_client_left_is_not_compared(server: Served, http: httpx2.Client) -> None:
    body = {
        "model": "slow",
        "stream": True,
        "messages": [{"role": "user", "content": "a b c d e f g h " * 20}],
    }
    with http.stream("POST", "/v1/chat/completions", json=body) as reply:
        request = reply.headers["x-request-id"]
        next(iter(reply.iter_lines()))
    wait_for(lambda: any(request in line for line in server.log), 20)
    assert "internal error" not in "".join(server.log)
    ask(http, "slow", "stays")
    wait_for(lambda: compared(http, "left") == 1, 20)


@pytest.mark.parametrize(
    ("shadow", "told"),
    [
        ({"share": 1, "scorers": {"none": 0.1}}, "There is no scorer none"),
        ({"share": 1, "scorers": {"judge": 0.1}}, "judge needs judge_model"),
        ({"share": 1, "scorers": {"judge": 0.1}, "judge_model": "next2"}, "needs the judge next2"),
        ({"share": 1, "scorers": {"judge": 0.1}, "judge_model": "spare"}, "judge its own answers"),
        ({"score_url": "http://127.0.0.1:1/"}, "score_url cannot be set here"),
        ({"share": 2}, "shadow.share is wrong"),
    ],
)
def test_a_wrong_shadow_is_refused(http: httpx2.Client, shadow: dict[str, Any], told: str) -> None:
    body = {"model": "spare", "candidate": "extra", "shadow": shadow}
    reply = http.put("/admin/experiments/wrong", json=body)
    assert (reply.status_code, told in reply.text) == (400, True), reply.text


def test_recorded_requests_are_sent_to_a_candidate_and_compared(
    server: Served, http: httpx2.Client
) -> None:
    image = {"type": "image_url", "image_url": {"url": data_url(encoded(32, 24))}}
    body = {
        "model": "other",
        "messages": [{"role": "user", "content": [image, {"type": "text", "text": "seen"}]}],
    }
    http.post("/v1/chat/completions", json=body).raise_for_status()
    told = run("experiment", "replay-traffic", "next", "--max", "1", "--url", server.url)
    assert told.returncode == 0, told.stderr
    assert "1 answers compared, 0 not answered, 0 recorded incompletely" in told.stdout
    assert "agreement: 1.000" in told.stdout
    ask(http, "other", "hi")
    told = run("experiment", "replay-traffic", "broken", "--max", "1", "--url", server.url)
    assert "0 answers compared, 1 not answered" in told.stdout
