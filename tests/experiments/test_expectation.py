"""What an experiment needs, against what experiments took."""

import random
from pathlib import Path

import pytest

from silkline.config import ExperimentSettings
from silkline.experiments.assignment import Arm
from silkline.experiments.expectation import POWER, expect
from silkline.experiments.journal import Serving
from tests.experiments.test_experiment import Run, behaviour

SETTINGS = ExperimentSettings(
    model="old", candidate="new", ramp=(0.25, 0.5), step_requests=100, planned_requests=1_000,
    reward_margin=0.1, max_failures=0.02,
)  # fmt: skip


@pytest.mark.parametrize(
    "runs", [3, pytest.param(40, marks=[pytest.mark.full, pytest.mark.timeout(0)])]
)
async def test_most_candidates_as_good_as_the_model_are_promoted_by_then(
    tmp_path: Path, runs: int
) -> None:
    told = expect(SETTINGS, deviations={"latency": 0.3, "reward": 0.22})
    assert told.requests is not None
    by_then = 0
    for seed in range(runs):
        run = Run(tmp_path / f"{seed}", ramp=(0.25, 0.5), step_requests=100,
                  planned_requests=1_000, reward_margin=0.1, max_failures=0.02)  # fmt: skip
        await run.experiment.start()
        await run.ask(20_000, behaviour(), random.Random(seed))
        assert run.experiment.serving is Serving.CANDIDATE
        tally = run.experiment.tally
        by_then += tally.requests(Arm.CONTROL) + tally.requests(Arm.CANDIDATE) <= told.requests
    assert by_then >= (POWER if runs > 3 else 0.5) * runs


def test_days_follow_from_the_rate_and_the_ramp() -> None:
    slow, fast = (expect(SETTINGS, rate=rate) for rate in (1.0, 10.0))
    assert slow.days is not None
    assert fast.days is not None
    assert slow.days == pytest.approx(10 * fast.days)
    first = max(need.requests or 0 for need in slow.needs.values())
    assert slow.days * 86_400 == pytest.approx(first / (2 * 0.25) + 100 / 0.5)
    late = expect(SETTINGS, seen=first - 300, share=0.5, rate=1.0)
    assert late.days is not None
    assert late.days * 86_400 == pytest.approx(300)


def test_one_that_takes_too_long_is_told_so() -> None:
    hopeless = SETTINGS.model_copy(update={"reward_margin": 0.001})
    told = expect(hopeless, rate=0.01).told
    assert told.endswith("too long: it ends undecided after 14 days.")


@pytest.mark.parametrize(
    ("rate", "told"), [(100.0, "that is 31 s."), (0.4, "that is 2 h "), (0.02, " days.")]
)
def test_the_time_has_a_unit_that_suits_it(rate: float, told: str) -> None:
    assert told in expect(SETTINGS, rate=rate).told


def test_measured_deviations_replace_assumed_ones() -> None:
    assumed, measured = expect(SETTINGS), expect(SETTINGS, deviations={"reward": 0.25})
    assert not assumed.needs["reward"].is_measured
    assert measured.needs["reward"].is_measured
    requests = [one.needs["reward"].requests for one in (assumed, measured)]
    assert requests[0] is not None
    assert requests[1] is not None
    assert requests[1] < requests[0] / 3
