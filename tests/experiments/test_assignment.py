"""Which arm a unit belongs to."""

from hypothesis import given
from hypothesis import strategies as st

from silkline.experiments.assignment import Arm, arm_of

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


def test_an_assignment_stays_as_it_is_over_versions() -> None:
    told = " ".join(arm_of("e", unit, 0.2).value for unit in UNITS[:8])
    assert told == "outside outside candidate control control outside outside outside"
