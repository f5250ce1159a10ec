"""The report of an experiment: what a reader finds in it, and that it needs nothing else."""

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest

from silkline.experiments.report import page
from silkline.gateway.experiments import detailed
from tests.experiments.test_experiment import Behaviour, Run, behaviour


async def found(folder: Path, draw: Behaviour, requests: int, **settings: Any) -> dict[str, Any]:
    """An experiment after some requests, as the admin API sends it."""
    run = Run(folder / "e.sqlite", ramp=(0.5,), step_requests=20, planned_requests=400,
              **settings)  # fmt: skip
    await run.experiment.start()
    await run.ask(requests, draw, random.Random(1))
    await run.journal.aclose()
    return dict(json.loads(json.dumps(detailed(run.experiment))))


async def test_a_rollback_is_told_with_what_it_rested_on(tmp_path: Path) -> None:
    one = await found(tmp_path, behaviour(reward=0.75), 2_000)
    html = page(one)
    last = one["decisions"][-1]
    assert last["serving"] == "model"
    assert "The candidate is worse: its mean reward is" in html
    arms = last["evidence"]["arms"]
    rested = f"{arms['control']['requests']} and {arms['candidate']['requests']}"
    assert f"<td>{rested}</td>" in html
    assert '<tr><th scope="row">reward: worse than accepted</th>' in html
    drawn = re.findall(r"<h2>([^<]*)</h2>", html)
    assert {
        "Decisions", "Reward: candidate minus control", "Latency: candidate over control",
        "Failed requests of the candidate", "Traffic by arm",
    } <= set(drawn)  # fmt: skip
    assert html.count("rolled back</text>") == 3
    assert "accepted loss 0.01" in html


async def test_the_intervals_hold_what_the_status_says(tmp_path: Path) -> None:
    one = await found(tmp_path, behaviour(slower=1.1), 300, latency_margin=1.0)
    course = one["course"]
    assert [point["requests"] for point in course] == sorted({p["requests"] for p in course})
    arms = one["evidence"]["arms"].values()
    assert course[-1]["requests"] == sum(arm["requests"] for arm in arms)
    assert course[0]["latency"] is None  # too few to say anything
    for name in ("latency", "gain", "failures"):
        last = course[-1][name]
        assert last["low"] <= last["estimate"] <= last["high"]
    gain = one["evidence"]["gain"]
    assert course[-1]["gain"] == gain
    widths = [p["gain"]["high"] - p["gain"]["low"] for p in course if p["gain"]]
    assert widths[-1] < widths[0]


async def test_without_requests_it_says_so(tmp_path: Path) -> None:
    html = page(await found(tmp_path, behaviour(), 0))
    assert "Too few requests for an interval." in html
    assert "The experiment begins." in html


async def test_it_refers_to_nothing_outside_and_escapes_names(tmp_path: Path) -> None:
    one = await found(tmp_path, behaviour(), 60)
    one["decisions"][0]["by"] = "<img id=x>"
    html = page(one)
    assert "<img" not in html
    assert not re.search(r'(src|href)=|url\(|@import|="https?:', html)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"reward_margin": 0.0}, "No number of requests proves reward"),
        ({"goal": "better", "reward_margin": 0.1}, "A candidate better by 0.1 is promoted after"),
        ({}, "A candidate as good as the model is promoted after"),
    ],
)
async def test_what_it_needs_is_told_before_the_first_request(
    tmp_path: Path, settings: dict[str, Any], told: str
) -> None:
    assert told in page(await found(tmp_path, behaviour(), 0, **settings))
