"""An experiment from its start to its end, with simulated requests."""

import asyncio
import json
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from silkline.config.experiments import ExperimentSettings
from silkline.errors import InvalidRequest
from silkline.experiments.assignment import Arm
from silkline.experiments.experiment import Experiment
from silkline.experiments.journal import Decision, Journal, Marks, Serving
from silkline.experiments.tally import Observation

Behaviour = Callable[[random.Random, Arm], tuple[bool, float, float]]
"""Draws whether a request fails, its seconds and its reward."""


def behaviour(*, failures: float = 0.0, slower: float = 1.0, reward: float = 0.95) -> Behaviour:
    def draw(rng: random.Random, arm: Arm) -> tuple[bool, float, float]:
        candidate = arm is Arm.CANDIDATE
        seconds = rng.lognormvariate(0, 0.3) * (slower if candidate else 1.0)
        right = rng.random() < (reward if candidate else 0.95)
        return candidate and rng.random() < failures, seconds, float(right)

    return draw


class Run:
    """An experiment with a clock of its own, and a second between requests."""

    def __init__(self, path: Path, **settings: Any) -> None:
        self.path = path
        self.settings = ExperimentSettings(
            model="old", candidate="new", unit="request", **settings,
        )  # fmt: skip
        self.now = 1e9
        self.number = 0
        self.journal = Journal(str(path))
        self.experiment = Experiment("e", self.settings, self.journal, lambda: self.now)

    async def restart(self) -> None:
        await self.journal.aclose()
        self.journal = Journal(str(self.path))
        self.experiment = Experiment("e", self.settings, self.journal, lambda: self.now)
        await self.experiment.start()

    async def ask(self, requests: int, draw: Behaviour, rng: random.Random) -> int:
        """Sends requests until the experiment ends; returns how many of the candidate's it took."""
        for _ in range(requests):
            if self.experiment.serving is not Serving.SPLIT:
                break
            self.number += 1
            self.now += 1
            arm = self.experiment.assign(str(self.number).encode())
            if arm is Arm.OUTSIDE:
                continue
            failed, seconds, reward = draw(rng, arm)
            seen = Observation(str(self.number), "t", arm, "miss", failed, seconds, 100, self.now)
            self.experiment.observe(seen)
            await self.experiment.settle()
            if not failed:
                found = await self.journal.reward(str(self.number), "t", reward, self.now)
                assert found is not None
                assert found.is_first
        return self.experiment.tally.requests(Arm.CANDIDATE)


@pytest.fixture
async def run(tmp_path: Path) -> Run:
    run = Run(tmp_path / "e.sqlite", ramp=(0.25, 0.5), step_requests=50, planned_requests=1_000,
              reward_margin=0.05)  # fmt: skip
    await run.experiment.start()
    return run


async def test_a_good_candidate_is_promoted_step_by_step(run: Run) -> None:
    await run.ask(20_000, behaviour(reward=0.97), random.Random(1))
    assert [(one.serving, one.share) for one in run.experiment.decisions] == [
        (Serving.SPLIT, 0.25), (Serving.SPLIT, 0.5), (Serving.CANDIDATE, 1.0),
    ]  # fmt: skip
    assert run.experiment.assign(b"any") is Arm.OUTSIDE


@pytest.mark.parametrize(
    ("draw", "told", "most"),
    [
        (behaviour(failures=0.05), "requests failed", 100),
        (behaviour(slower=1.2), "its latency is 1.", 500),
        (behaviour(reward=0.80), "its mean reward is 0.", 500),
    ],
)
async def test_a_worse_candidate_is_rolled_back(
    tmp_path: Path, draw: Behaviour, told: str, most: int
) -> None:
    needed = []
    for seed in range(5):
        run = Run(tmp_path / f"{seed}.sqlite", ramp=(0.5,), planned_requests=1_000,
                  latency_margin=0.05, max_failures=0.005)  # fmt: skip
        await run.experiment.start()
        needed.append(await run.ask(20_000, draw, random.Random(seed)))
        last = run.experiment.decisions[-1]
        assert last.serving is Serving.MODEL
        assert told in last.reason
    assert sorted(needed)[2] <= most


async def test_an_equal_candidate_is_seldom_rolled_back(tmp_path: Path) -> None:
    ends = []
    for seed in range(10):
        run = Run(tmp_path / f"{seed}.sqlite", ramp=(0.5,), planned_requests=1_000)
        await run.experiment.start()
        await run.ask(300, behaviour(failures=0.001), random.Random(seed))
        ends.append(run.experiment.serving)
    assert ends.count(Serving.MODEL) <= 1


async def test_a_bandit_sends_more_to_the_better_arm_and_keeps_its_guards(tmp_path: Path) -> None:
    run = Run(tmp_path / "b", mode="bandit", planned_requests=1_000, max_failures=0.005)
    await run.experiment.start()
    assert run.experiment.share == 0.5
    await run.ask(400, behaviour(reward=0.6), random.Random(1))
    assert run.experiment.share == pytest.approx(0.05)
    assert run.experiment.serving is Serving.SPLIT
    await run.ask(6_000, behaviour(failures=0.3, reward=0.6), random.Random(2))
    assert "requests failed" in run.experiment.decisions[-1].reason


async def test_a_bandit_ends_with_the_arm_that_has_more_reward(tmp_path: Path) -> None:
    for seed, (reward, serving) in enumerate([(1.0, Serving.CANDIDATE), (0.6, Serving.MODEL)]):
        run = Run(tmp_path / str(seed), mode="bandit")
        await run.experiment.start()
        await run.ask(300, behaviour(reward=reward), random.Random(seed))
        run.now += 15 * 86_400
        await run.experiment.settle()
        assert run.experiment.serving is serving


async def test_too_few_requests_decide_nothing(run: Run) -> None:
    await run.ask(100, behaviour(), random.Random(2))
    assert run.experiment.serving is Serving.SPLIT
    assert run.experiment.verdict.reason.startswith("Too small to decide: failures, latency")


async def test_a_restart_changes_neither_arms_nor_evidence(run: Run) -> None:
    await run.ask(600, behaviour(reward=0.94), random.Random(3))
    await run.experiment.settle()
    units = [str(number).encode() for number in range(500)]
    before = run.experiment
    arms, evidence = [before.assign(unit) for unit in units], before.verdict
    await run.restart()
    assert run.experiment is not before
    assert [run.experiment.assign(unit) for unit in units] == arms
    after = run.experiment.verdict
    assert (after.step, after.reason) == (evidence.step, evidence.reason)
    assert after.harm == pytest.approx(evidence.harm)
    assert after.proof == pytest.approx(evidence.proof)


async def test_a_wrong_split_stops_it(run: Run) -> None:
    for number in range(400):
        arm = Arm.CONTROL if number % 3 else Arm.CANDIDATE
        run.experiment.observe(Observation(str(number), "t", arm, "miss", False, 1.0, 1.0, run.now))
    await run.experiment.settle()
    assert run.experiment.serving is Serving.SPLIT
    assert "should have equally many requests" in run.experiment.verdict.reason


async def test_a_person_may_decide(tmp_path: Path) -> None:
    run = Run(tmp_path / "e", ramp=(0.5,), planned_requests=1_000, decides="person",
              reward_margin=0.05)  # fmt: skip
    await run.experiment.start()
    await run.ask(3_000, behaviour(reward=0.99), random.Random(4))
    assert run.experiment.serving is Serving.SPLIT
    assert run.experiment.verdict.reason == "Every requirement is met."
    await run.experiment.take("promote", "ann")
    await run.restart()
    last = run.experiment.decisions[-1]
    assert (last.serving, last.by) == (Serving.CANDIDATE, "ann")
    await run.experiment.take("rollback", "ben")
    last = run.experiment.decisions[-1]
    assert (last.serving, last.by) == (Serving.MODEL, "ben")
    with pytest.raises(InvalidRequest, match="There is no step onwards"):
        await run.experiment.take("onwards", "ann")


async def test_it_ends_when_its_days_are_over(run: Run) -> None:
    await run.ask(10, behaviour(), random.Random(5))
    run.now += 15 * 86_400
    await run.experiment.settle()
    last = run.experiment.decisions[-1]
    assert last.serving is Serving.MODEL
    assert last.reason.startswith("Undecided after 14 days. Too small to decide")


async def test_a_paused_experiment_assigns_nobody(tmp_path: Path) -> None:
    run = Run(tmp_path / "e", paused=True, ramp=(0.5,))
    await run.experiment.start()
    assert {run.experiment.assign(bytes([unit])) for unit in range(50)} == {Arm.OUTSIDE}


async def test_a_pause_lasts_over_restarts_and_keeps_evidence_and_arms(run: Run) -> None:
    await run.ask(600, behaviour(), random.Random(3))
    units = [str(number).encode() for number in range(200)]
    arms = [run.experiment.assign(unit) for unit in units]
    seen = run.experiment.tally.requests(Arm.CANDIDATE)
    await run.experiment.take("pause", "ann")
    for _ in range(2):
        assert run.experiment.serving is Serving.PAUSED
        assert {run.experiment.assign(unit) for unit in units} == {Arm.OUTSIDE}
        await run.restart()
    run.now += 15 * 86_400  # a pause is no time in which it could decide
    await run.experiment.settle()
    assert run.experiment.serving is Serving.PAUSED
    await run.experiment.take("resume", "ben")
    await run.experiment.settle()
    assert [run.experiment.assign(unit) for unit in units] == arms
    assert run.experiment.tally.requests(Arm.CANDIDATE) == seen
    told = [(one.serving, one.share, one.by) for one in run.experiment.decisions]
    assert told == [
        (Serving.SPLIT, 0.25, "evidence"), (Serving.PAUSED, 0.25, "ann"),
        (Serving.SPLIT, 0.25, "ben"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("before", "step"), [("promote", "pause"), ("pause", "pause"), ("rollback", "resume")]
)
async def test_only_a_running_one_is_paused_and_only_a_paused_one_resumed(
    run: Run, before: str, step: str
) -> None:
    await run.experiment.take(before, "ann")
    with pytest.raises(InvalidRequest, match="cannot be taken now"):
        await run.experiment.take(step, "ann")
    assert len(run.experiment.decisions) == 2


async def test_it_begins_anew_with_all_its_days(run: Run) -> None:
    await run.experiment.take("rollback", "ann")
    run.now += 15 * 86_400
    await run.experiment.take("restart", "ann")
    await run.experiment.settle()
    assert run.experiment.serving is Serving.SPLIT


async def test_a_repeated_request_counts_once(run: Run) -> None:
    seen = Observation("same", "t", Arm.CANDIDATE, "miss", False, 1.0, 1.0, run.now)
    for _ in range(2):
        run.experiment.observe(seen)
        run.experiment.observe(seen)
        await run.experiment.settle()
    run.experiment.observe(seen._replace(tenant="other"))
    await run.experiment.settle()
    assert run.experiment.tally.requests(Arm.CANDIDATE) == 2
    await run.restart()
    assert run.experiment.tally.requests(Arm.CANDIDATE) == 2


async def test_every_decision_can_be_reached_again_from_the_journal(run: Run) -> None:
    await run.ask(20_000, behaviour(reward=0.97), random.Random(1))
    await run.journal.aclose()
    with sqlite3.connect(run.path) as file:
        rows = file.execute("SELECT settings, reason, seen FROM decisions").fetchall()
        seen = file.execute("SELECT count(*) FROM observations").fetchone()[0]
    assert [json.loads(row[0])["model"] for row in rows] == ["old"] * 3
    assert rows[0][2] == 0
    assert rows[-1][2] == seen
    run.journal = Journal(str(run.path))
    past = await run.journal.read("e")
    assert [decision for _, decision in past.decisions] == run.experiment.decisions


async def test_late_doubled_and_unknown_rewards(run: Run) -> None:
    await run.ask(50, behaviour(), random.Random(6))
    found = [await run.journal.reward(str(n), "t", 1.0, run.now) for n in range(1, 51)]
    assert all(one is None or not one.is_first for one in found)
    assert await run.journal.reward("9999", "t", 1.0, run.now) is None
    assert await run.journal.reward("1", "another", 1.0, run.now) is None


async def test_the_journal_of_another_experiment_is_not_read(run: Run) -> None:
    await run.ask(50, behaviour(), random.Random(7))
    assert await run.journal.read("other") == ([], [], [], [], Marks())
    first = run.experiment.decisions[0]
    assert first == Decision(Serving.SPLIT, 0.25, "evidence", "The experiment begins.",
                             first.evidence, 1e9)  # fmt: skip


async def test_a_second_gateway_knows_the_same_and_follows(run: Run) -> None:
    other = Run(run.path, ramp=(0.25, 0.5), step_requests=50, planned_requests=1_000,
                reward_margin=0.05)  # fmt: skip
    await other.experiment.start()
    assert len(other.experiment.decisions) == 1
    units = [str(number).encode() for number in range(500)]
    assert [run.experiment.assign(unit) for unit in units] == [
        other.experiment.assign(unit) for unit in units
    ]
    await run.ask(300, behaviour(), random.Random(8))
    other.number = run.number
    await other.ask(300, behaviour(), random.Random(9))
    await asyncio.gather(run.experiment.settle(), other.experiment.settle())
    for arm in (Arm.CONTROL, Arm.CANDIDATE):
        assert run.experiment.tally.requests(arm) == other.experiment.tally.requests(arm) > 100
    assert run.experiment.verdict == other.experiment.verdict
    await run.experiment.take("rollback", "ann")
    before = other.experiment.serving
    await other.experiment.settle()
    assert (before, other.experiment.serving) == (Serving.SPLIT, Serving.MODEL)
    assert other.experiment.decisions == run.experiment.decisions


async def test_of_two_gateways_that_decide_at_once_one_is_followed(run: Run) -> None:
    other = Run(run.path, ramp=(0.25, 0.5), max_days=1)
    await other.experiment.start()
    run.now = other.now = 1e9 + 15 * 86_400
    await asyncio.gather(run.experiment.settle(), other.experiment.settle())
    for one in (run, other):
        await one.experiment.settle()
    assert run.experiment.decisions == other.experiment.decisions
    assert [one.serving for one in run.experiment.decisions] == [Serving.SPLIT, Serving.MODEL]
