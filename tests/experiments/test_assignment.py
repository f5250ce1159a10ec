"""Which arm a unit belongs to."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from silkline.config.experiments import ExperimentSettings, check_experiments
from silkline.experiments.assignment import Arm, arm_of, takes_part

UNITS = [f"user-{number}".encode() for number in range(20_000)]


@given(st.binary(), st.floats(0.01, 0.5), st.floats(0.01, 0.5))
def test_no_unit_of_an_arm_changes_when_the_share_rises(unit: bytes, a: float, b: float) -> None:
    before, after = (arm_of("e", unit, share) for share in sorted((a, b)))
    assert before in (after, Arm.OUTSIDE)


def test_the_arms_are_as_large_as_declared() -> None:
    arms = [arm_of("e", unit, 0.05) for unit in UNITS]
    for arm in (Arm.CANDIDATE, Arm.CONTROL):
        assert abs(arms.count(arm) - 1_000) < 4 * 31  # standard deviation 30.8
    assert Arm.OUTSIDE not in {arm_of("e", unit, 0.5) for unit in UNITS}


def test_experiments_assign_independently() -> None:
    both = sum(
        arm_of("one", unit, 0.5) is arm_of("two", unit, 0.5) is Arm.CANDIDATE for unit in UNITS
    )
    assert abs(both - 5_000) < 4 * 62


def settings(**more: Any) -> ExperimentSettings:
    return ExperimentSettings.model_validate({"model": "a", "candidate": "b", **more})


def test_experiments_of_a_layer_have_separate_units_and_other_layers_do_not_matter() -> None:
    halves = {"one": (0.0, 0.5), "two": (0.5, 1.0)}
    part = {
        name: {unit for unit in UNITS if takes_part(name, unit, settings(layer="l", traffic=half))}
        for name, half in halves.items()
    }
    assert not part["one"] & part["two"]
    assert len(part["one"] | part["two"]) == len(UNITS)
    assert abs(len(part["one"]) - 10_000) < 4 * 71
    other = settings(layer="m", traffic=(0.0, 0.5))
    both = sum(takes_part("three", unit, other) for unit in part["one"])
    assert abs(both / len(part["one"]) - 0.5) < 0.02
    arms = [arm_of("one", unit, 0.5) for unit in part["one"]]
    assert abs(arms.count(Arm.CANDIDATE) - len(arms) / 2) < 4 * 50


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({}, "both use the model a"),
        ({"layer": "m"}, "both use the model a"),
        ({"layer": "l"}, "use the same traffic"),
        ({"layer": "l", "traffic": (0.4, 1)}, "use the same traffic"),
        ({"layer": "l", "traffic": (0.5, 1), "unit": "request"}, "need the same unit"),
        ({"layer": "l", "traffic": (0.5, 1), "candidate": "b"}, "both use the model b"),
        ({"model": "d", "layer": "l", "traffic": (0, 1)}, "use the same traffic"),
    ],
)
def test_experiments_that_would_meet_are_refused(other: dict[str, Any], told: str) -> None:
    one = settings(layer="l", traffic=(0, 0.5))
    with pytest.raises(ValueError, match=told):
        check_experiments(
            {"one": one, "two": settings(**{"candidate": "c", **other})}, {"a", "b", "c", "d"}
        )


def test_experiments_on_separate_traffic_of_a_model_are_taken() -> None:
    one = settings(layer="l", traffic=(0, 0.5))
    two = settings(layer="l", traffic=(0.5, 1), candidate="c")
    check_experiments({"one": one, "two": two}, {"a", "b", "c"})


def test_an_assignment_stays_as_it_is_over_versions() -> None:
    told = " ".join(arm_of("e", unit, 0.2).value for unit in UNITS[:8])
    assert told == "outside outside candidate control control outside outside outside"
