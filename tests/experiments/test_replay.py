"""A journal is replayed to the same verdicts."""

import random
import sqlite3
from pathlib import Path

import pytest

from silkline.config.experiments import ExperimentSettings
from silkline.errors import ConfigError
from silkline.experiments.assignment import Arm
from silkline.experiments.experiment import Experiment
from silkline.experiments.journal import Journal
from silkline.experiments.replay import replay
from silkline.experiments.tally import Observation
from tests.cli.test_main import run


async def record(path: Path, failing: float) -> list[str]:
    """Runs an experiment to its end, and returns who answered after each decision."""
    settings = ExperimentSettings(
        model="old", candidate="new", unit="request", ramp=(0.25, 0.5), step_requests=50,
        planned_requests=1_000, reward_margin=0.1, latency_margin=0.5,
    )  # fmt: skip
    journal, rng = Journal(str(path)), random.Random(1)
    experiment = Experiment("e", settings, journal)
    await experiment.start()
    for number in range(3_000):
        arm = experiment.assign(str(number).encode())
        if arm is Arm.OUTSIDE:
            continue
        failed = arm is Arm.CANDIDATE and rng.random() < failing
        seconds = rng.lognormvariate(0, 0.3)
        experiment.observe(Observation(str(number), "t", arm, "miss", failed, seconds, 10, 1e9))
        if number % 5 == 0:
            await experiment.settle()
        reward = float(rng.random() < 0.95)
        await journal.reward(str(number), "t", reward, 1e9)  # read when it settles next
    await experiment.take("restart", "ann")
    await journal.aclose()
    return [one.serving.value for one in experiment.decisions]


@pytest.mark.parametrize(
    ("failing", "serving"),
    [(0.0, ["split", "split", "candidate", "split"]), (0.2, ["split", "model", "split"])],
)
async def test_every_verdict_follows_again(
    tmp_path: Path, failing: float, serving: list[str]
) -> None:
    path = tmp_path / "e.sqlite"
    assert await record(path, failing) == serving
    found = replay(path, "e")
    assert [one.decision.serving.value for one in found] == serving
    assert [one.same_evidence for one in found] == [None, *[True] * (len(serving) - 1)]
    assert [one.same_verdict for one in found] == [None, *[True] * (len(serving) - 2), None]


async def test_a_journal_that_was_changed_does_not_follow(tmp_path: Path) -> None:
    path = tmp_path / "e.sqlite"
    await record(path, 0.2)
    told = run("experiment", "replay", "e", "--journal", str(path))
    assert (told.returncode, "differs" in told.stdout) == (0, False), told.stderr
    with sqlite3.connect(path) as file:
        file.execute("UPDATE observations SET failed = 0")
    file.close()
    assert [one.is_right for one in replay(path, "e")] == [True, False, False]
    told = run("experiment", "replay", "e", "--journal", str(path))
    assert (told.returncode, "differs" in told.stdout) == (1, True)


def test_a_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other"
    with pytest.raises(ConfigError, match="There is no journal"):
        replay(other, "e")
    other.write_text("no journal")
    with pytest.raises(ConfigError, match="is no journal of experiments"):
        replay(other, "e")


async def test_an_unknown_experiment_is_refused(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path / "e.sqlite"))
    await journal.read("e")
    await journal.aclose()
    with pytest.raises(ConfigError, match="has no experiment other"):
        replay(tmp_path / "e.sqlite", "other")
