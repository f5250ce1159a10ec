"""An experiment behind a real server: arms, feedback, decisions, restarts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
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
[models.next]
[models.other]
[models.more]

[admin]
admin_without_keys = "loopback"

[experimenting]
experiment_file = "experiments.sqlite"
holdout = 0.2

[experiments.trial]
model = "shop"
candidate = "next"
ramp = [0.3, 0.5]
unit = "user"
planned_requests = 200
step_requests = 20
reward_margin = 0.2
latency_margin = 9
max_failures = 0.3
decides = "person"
"""


def start(folder: Path, *changes: tuple[str, str]) -> Iterator[Served]:
    tables = TABLES
    for old, new in changes:
        assert old in tables
        tables = tables.replace(old, new)
    (folder / "silkline.toml").write_text(tables, encoding="utf-8")
    with served(folder=folder) as running:
        yield running


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    yield from start(tmp_path_factory.mktemp("trial"))


@pytest.fixture
def http(trial: Served) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=trial.url, timeout=60) as client:
        yield client


def ask(http: httpx2.Client, user: str, model: str = "shop", **more: Any) -> httpx2.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], **more}
    reply = http.post("/v1/chat/completions", json=body, headers={"x-silkline-user": user})
    assert reply.status_code == 200, reply.text
    return reply


def arm(reply: httpx2.Response) -> str:
    told = reply.headers.get("x-silkline-experiment", "trial=outside")
    assert told.startswith("trial=")
    return str(told.removeprefix("trial="))


def user_of(http: httpx2.Client, wanted: str) -> str:
    return next(name for name in map(str, range(200)) if arm(ask(http, name)) == wanted)


def shown(http: httpx2.Client) -> dict[str, Any]:
    return dict(http.get("/admin/experiments/trial").raise_for_status().json())


def test_each_user_keeps_an_arm_and_each_arm_its_model_and_its_cache(http: httpx2.Client) -> None:
    arms = {name: arm(ask(http, name)) for name in map(str, range(40))}
    assert {arm(ask(http, name)) for name in arms if arms[name] == "candidate"} == {"candidate"}
    assert set(arms.values()) == {"candidate", "control", "outside"}
    for name, expected in (("candidate", "next@"), ("control", "shop@"), ("outside", "shop@")):
        user = user_of(http, name)
        reply = ask(http, user, temperature=0)
        assert reply.headers["x-silkline-model"].startswith(expected)
        again = ask(http, user, temperature=0)
        assert again.headers["x-silkline-cache"] == "hit"
        assert arm(again) == name


def test_held_out_users_never_get_the_candidate_also_not_a_promoted_one(
    trial: Served, http: httpx2.Client
) -> None:
    http.put("/admin/experiments/kept", json={**ADDED, "unit": "user"}).raise_for_status()
    names = [f"u{number}" for number in range(40)]
    held = {
        name for name in names if "x-silkline-experiment" not in ask(http, name, "other").headers
    }
    assert 2 <= len(held) <= 16
    http.post("/admin/experiments/kept", json={"step": "promote"}).raise_for_status()
    served = {name: ask(http, name, "other").headers["x-silkline-model"] for name in names}
    assert {name for name in names if served[name].startswith("other@")} == held
    http.delete("/admin/experiments/kept").raise_for_status()


def test_the_log_line_names_the_arm(trial: Served, http: httpx2.Client) -> None:
    request = ask(http, user_of(http, "candidate")).headers["x-request-id"]
    wait_for(lambda: any(request in line for line in trial.log), 20)
    (event,) = [one for one in trial.events("request") if one["http.request.id"] == request]
    assert (event["silkline.experiment"], event["silkline.arm"]) == ("trial", "candidate")


def test_other_models_take_no_part(http: httpx2.Client) -> None:
    for model in ("other", "next"):
        assert "x-silkline-experiment" not in ask(http, "7", model).headers


def test_what_happens_is_counted(trial: Served, http: httpx2.Client) -> None:
    before = shown(http)["evidence"]["arms"]
    user = user_of(http, "control")
    for _ in range(3):
        ask(http, user)
    bad = {"model": "shop", "messages": []}
    assert http.post("/v1/chat/completions", json=bad).status_code == 400
    after = shown(http)["evidence"]["arms"]
    assert after["control"]["requests"] >= before["control"]["requests"] + 3
    assert after["control"]["failures"] == 0
    counted = metric(
        trial.url, "silkline_experiment_requests_total", experiment="trial", arm="control"
    )
    assert counted == after["control"]["requests"]


def test_feedback_is_counted_once_by_its_own_tenant_and_kind(http: httpx2.Client) -> None:
    request = ask(http, user_of(http, "candidate")).headers["x-request-id"]
    for body, is_first in (({"rating": 4}, True), ({"accepted": True}, False)):
        reply = http.post("/v1/feedback", json={"request_id": request, **body})
        assert reply.json() == {
            "request_id": request, "experiment": "trial", "arm": "candidate", "counted": is_first,
        }  # fmt: skip
    assert shown(http)["evidence"]["arms"]["candidate"]["mean_reward"] == 0.75


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        ({"request_id": "unknown", "reward": 1}, 404, "takes part in an experiment"),
        ({"request_id": "r"}, 400, "Send one of reward, rating and accepted"),
        ({"request_id": "r", "reward": 1, "accepted": True}, 400, "Send one of"),
        ({"request_id": "r", "reward": 1.5}, 400, "reward"),
        ({"request_id": "r", "rating": 0}, 400, "rating"),
        ({"reward": 1}, 400, "request_id"),
    ],
)
def test_wrong_feedback_is_refused(
    http: httpx2.Client, body: dict[str, Any], status: int, told: str
) -> None:
    reply = http.post("/v1/feedback", json=body)
    assert (reply.status_code, told in reply.json()["error"]["message"]) == (status, True)


def test_an_unknown_experiment_or_step_is_refused(http: httpx2.Client) -> None:
    reply = http.get("/admin/experiments/none")
    assert (reply.status_code, "There are: trial." in reply.text) == (404, True)
    reply = http.post("/admin/experiments/trial", json={"step": "onwards"})
    assert (reply.status_code, "There is no step onwards" in reply.text) == (400, True)


ADDED = {"model": "other", "candidate": "more", "ramp": [0.5], "unit": "request"}


def test_an_experiment_may_be_added_and_removed_while_the_server_runs(http: httpx2.Client) -> None:
    added = http.put("/admin/experiments/added", json=ADDED)
    assert (added.status_code, added.json()["serving"], added.json()["share"]) == (
        200,
        "split",
        0.5,
    )
    told = [ask(http, "7", "other").headers for _ in range(40)]
    assert {one["x-silkline-experiment"] for one in told} == {"added=control", "added=candidate"}
    assert {one["x-silkline-model"][:5] for one in told} == {"other", "more@"}
    again = http.put("/admin/experiments/added", json=ADDED)
    assert again.json()["evidence"]["arms"]["control"]["requests"] > 0  # the same one goes on
    other = http.put("/admin/experiments/added", json={**ADDED, "ramp": [0.25]})
    assert (other.status_code, other.json()["error"]["code"]) == (409, "model_conflict")
    assert http.delete("/admin/experiments/added").json() == {"name": "added", "removed": True}
    assert "x-silkline-experiment" not in ask(http, "7", "other").headers
    assert http.get("/admin/experiments/added").status_code == 404


CHANGES = {
    "prefix": "Look closely: ",
    "system": "Be brief.",
    "max_pixels": 576,
    "max_tokens": 12,
    "temperature": 0.0,
}


def test_a_candidate_may_be_the_same_model_asked_in_another_way(http: httpx2.Client) -> None:
    table = {"model": "other", "candidate": "other", "ramp": [0.5], "changes": CHANGES}
    added = http.put("/admin/experiments/changed", json=table)
    assert added.status_code == 200, added.text
    assert {**added.json()["settings"]["changes"], **CHANGES} == added.json()["settings"]["changes"]
    image = {"type": "image_url", "image_url": {"url": data_url(encoded(320, 240))}}
    parts = [image, {"type": "text", "text": "how many are there in all"}]
    messages = [{"role": "system", "content": "Be long."}, {"role": "user", "content": parts}]
    told: dict[str, httpx2.Response] = {}
    for user in map(str, range(40)):
        body = {"model": "other", "messages": messages}
        reply = http.post("/v1/chat/completions", json=body, headers={"x-silkline-user": user})
        assert reply.status_code == 200, reply.text
        told[reply.headers.get("x-silkline-experiment", "held out")] = reply
    http.delete("/admin/experiments/changed")
    control, candidate = told["changed=control"], told["changed=candidate"]
    assert candidate.headers["x-silkline-pixel-budget"] == "576"
    assert int(control.headers["x-silkline-pixel-budget"]) > 576
    answers = [one.json()["choices"][0] for one in (control, candidate)]
    assert answers[0]["message"]["content"].startswith("[320x240]")
    assert answers[1]["message"]["content"].startswith("Look closely")
    assert [one["finish_reason"] for one in answers] == ["stop", "length"]
    assert candidate.json()["usage"]["completion_tokens"] == 12


def test_a_pause_by_the_command_and_the_report(trial: Served, http: httpx2.Client) -> None:
    user = user_of(http, "candidate")
    told = run("experiment", "pause", "trial", "--url", trial.url)
    assert told.returncode == 0, told.stderr
    assert "the model, paused" in told.stdout
    assert arm(ask(http, user)) == "outside"
    assert ask(http, user).headers["x-silkline-model"].startswith("shop@")
    again = http.post("/admin/experiments/trial", json={"step": "pause"})
    assert (again.status_code, "cannot be taken now" in again.text) == (400, True)
    resumed = http.post("/admin/experiments/trial", json={"step": "resume"})
    assert resumed.json()["serving"] == "split"
    assert arm(ask(http, user)) == "candidate"


@pytest.mark.slow
def test_the_report_is_written_by_the_command(
    trial: Served, http: httpx2.Client, tmp_path: Path
) -> None:
    for name in map(str, range(30)):
        ask(http, name)
    page = tmp_path / "trial.html"
    told = run("experiment", "report", "trial", "-o", str(page), "--url", trial.url)
    assert told.returncode == 0, told.stderr
    assert "trial: next against shop" in page.read_text("utf-8")
    told = run("experiment", "report", "trial", "-o", str(tmp_path), "--url", trial.url)
    assert told.returncode == 2


def test_one_may_be_created_by_the_command(trial: Served, http: httpx2.Client) -> None:
    told = run("experiment", "create", "made", "ramp=[0.5]", "unit=request", "reward_margin=0.1",
               "--model", "other", "--candidate", "more", "--url", trial.url)  # fmt: skip
    assert told.returncode == 0, told.stderr
    assert "more with other" in told.stdout
    assert "is promoted after at most" in " ".join(told.stdout.split())
    settings = http.get("/admin/experiments/made").json()["settings"]
    assert (settings["ramp"], settings["reward_margin"]) == ([0.5], 0.1)
    http.delete("/admin/experiments/made")


def test_what_it_needs_is_told_from_the_settings_file_alone(tmp_path: Path) -> None:
    (tmp_path / "silkline.toml").write_text(TABLES, encoding="utf-8")
    options = ("--config", str(tmp_path / "silkline.toml"), "--per-day", "1000")
    told = run("experiment", "expect", "trial", *options)
    assert told.returncode == 0, told.stderr
    said = " ".join(told.stdout.split())
    assert "promoted after at most" in said
    assert "At this rate of requests that is 14 h" in said
    assert {"failures", "latency", "reward"} <= set(said.split())
    assert run("experiment", "expect", "none", *options).returncode == 2


def test_a_request_id_that_comes_again_counts_once(http: httpx2.Client) -> None:
    user = user_of(http, "control")
    http.get("/admin/experiments/trial")
    body = {"model": "shop", "messages": [{"role": "user", "content": "hi"}]}
    headers = {"x-silkline-user": user, "x-request-id": "again-and-again"}
    for _ in range(3):
        http.post("/v1/chat/completions", json=body, headers=headers).raise_for_status()
    reply = http.post("/v1/feedback", json={"request_id": "again-and-again", "reward": 1})
    before = shown(http)["evidence"]["arms"]["control"]["requests"]
    http.post("/v1/chat/completions", json=body, headers=headers).raise_for_status()
    again = http.post("/v1/feedback", json={"request_id": "again-and-again", "reward": 1})
    assert (reply.json()["counted"], again.json()["counted"]) == (True, False)
    assert shown(http)["evidence"]["arms"]["control"]["requests"] == before


@pytest.mark.parametrize(
    ("change", "status", "told"),
    [
        ({"candidate": "none"}, 400, "needs the model none"),
        ({"candidate": "shop"}, 400, "both use the model shop"),
        ({"candidate": "other"}, 400, "compares other with itself"),
        ({"ramp": [0.6]}, 400, "The field ramp.0 is wrong"),
        ({"unit": "planet"}, 400, "The field unit is wrong"),
        ({"ramps": [0.5]}, 400, "The field ramps is not supported"),
    ],
)
def test_a_wrong_experiment_is_not_added(
    http: httpx2.Client, change: dict[str, Any], status: int, told: str
) -> None:
    reply = http.put("/admin/experiments/wrong", json={**ADDED, **change})
    assert (reply.status_code, told in reply.json()["error"]["message"]) == (status, True)
    assert http.get("/admin/experiments/wrong").status_code == 404


def test_an_experiment_of_the_settings_stays(http: httpx2.Client) -> None:
    reply = http.delete("/admin/experiments/trial")
    assert (reply.status_code, "is in the settings" in reply.text) == (409, True)
    assert shown(http)["serving"] == "split"


@pytest.mark.slow
def test_a_promotion_holds_after_a_restart_and_a_rollback_at_once(tmp_path: Path) -> None:
    arms: dict[str, str] = {}
    for running in start(tmp_path, ("holdout = 0.2\n", "")):
        with httpx2.Client(base_url=running.url, timeout=60) as http:
            arms = {name: arm(ask(http, name)) for name in map(str, range(30))}
            told = run("experiment", "promote", "trial", "--url", running.url)
            assert told.returncode == 0, told.stderr
            assert "An admin promoted it." in told.stdout
            assert {ask(http, name).headers["x-silkline-model"][:5] for name in arms} == {"next@"}
    for running in start(tmp_path, ("holdout = 0.2\n", "")):
        with httpx2.Client(base_url=running.url, timeout=60) as http:
            assert ask(http, "1").headers["x-silkline-model"].startswith("next@")
            assert shown(http)["evidence"]["arms"]["candidate"]["requests"] > 0
            run("experiment", "rollback", "trial", "--url", running.url)
            assert ask(http, "1").headers["x-silkline-model"].startswith("shop@")
            run("experiment", "restart", "trial", "--url", running.url)
            assert {name: arm(ask(http, name)) for name in arms} == arms
            told = run("experiment", "status", "--url", running.url)
            assert "both models" in told.stdout


@pytest.mark.slow
def test_a_candidate_that_fails_is_rolled_back_by_itself(tmp_path: Path) -> None:
    broken = ("[models.next]", '[models.next]\nengine_options = { oom_on_text = "7" }')
    for running in start(
        tmp_path, broken, ("[0.3, 0.5]", "[0.5]"), ("max_failures = 0.3", "max_failures = 0.02")
    ):
        with httpx2.Client(base_url=running.url, timeout=60) as http:
            sent = 0
            for sent in range(400):
                body = {"model": "shop", "messages": [{"role": "user", "content": str(sent)}]}
                http.post("/v1/chat/completions", json=body, headers={"x-silkline-user": str(sent)})
                if sent % 20 == 19 and shown(http)["serving"] == "model":
                    break
            last = shown(http)["decisions"][-1]
            assert (last["serving"], last["by"]) == ("model", "evidence")
            assert "requests failed" in last["reason"]
            assert sent < 200
            assert ask(http, "1").headers["x-silkline-model"].startswith("shop@")
