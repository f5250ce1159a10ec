"""Smaller pictures under load."""

import pytest

from silkline.admission.resolution import MAX_TENANTS, Resolution, reduced
from silkline.core import PixelBudget
from silkline.errors import ConfigError

CURVE = {0.5: 0.5, 0.25: 0.75, 1.0: 0.25}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("load", "share"), [(0, 1), (0.24, 1), (0.25, 0.75), (0.6, 0.5), (1, 0.25), (99, 0.25)]
)
def test_the_share_follows_the_curve(load: float, share: float) -> None:
    assert Resolution(CURVE, Clock()).share("a", load) == share


def test_it_goes_down_at_once_and_up_step_by_step() -> None:
    clock = Clock()
    resolution = Resolution(CURVE, clock)
    assert resolution.share("a", 1.2) == 0.25
    shares = []
    for _ in range(14):
        shares.append(resolution.share("a", 0.0))
        clock.now += 0.5
    assert shares == [0.25] * 4 + [0.5] * 4 + [0.75] * 4 + [1.0] * 2


def test_a_load_around_a_step_does_not_make_it_flap() -> None:
    clock = Clock()
    resolution = Resolution(CURVE, clock)
    shares = []
    for number in range(1000):
        clock.now += 0.1
        shares.append(resolution.share("a", 0.3 if number % 100 else 0.55))
    assert set(shares) == {0.5}


def test_a_long_pause_is_calm_as_well() -> None:
    clock = Clock()
    resolution = Resolution(CURVE, clock)
    assert resolution.share("a", 2.0) == 0.25
    clock.now += 60
    assert resolution.share("a", 0.1) == 1.0
    assert resolution.lowest() == 1.0


def test_each_tenant_has_its_own_step() -> None:
    resolution = Resolution(CURVE, Clock())
    assert resolution.share("flood", 2.0) == 0.25
    assert resolution.share("calm", 0.0) == 1.0
    assert resolution.lowest() == 0.25


def test_an_empty_curve_turns_it_off() -> None:
    assert Resolution({}, Clock()).share("a", 99) == 1.0


def test_a_curve_that_rises_is_refused() -> None:
    with pytest.raises(ConfigError, match="resolution_curve"):
        Resolution({0.25: 0.5, 0.5: 0.75}, Clock())


def test_what_is_kept_is_bounded() -> None:
    resolution = Resolution(CURVE, Clock())
    for number in range(2 * MAX_TENANTS):
        resolution.share(str(number), 1.0)
    assert len(resolution._steps) == MAX_TENANTS


def test_a_reduced_budget_keeps_the_rest() -> None:
    assert reduced(PixelBudget(1000, 224), 0.25) == PixelBudget(250, 224)
    assert reduced(PixelBudget(1), 0.25) == PixelBudget(1)
