"""The intervals of `silkline evaluate` by how often they hold the true value."""

from __future__ import annotations

import pytest

from benchmarks.coverage import CONTINUOUS, PAIRED, covered, covered_pairs


@pytest.mark.parametrize("count", [8, 20, 50, 100])
@pytest.mark.parametrize(("better", "worse"), [*PAIRED, (0.0, 0.3), (0.25, 0.25)])
def test_differences_of_right_and_wrong_are_covered(
    better: float, worse: float, count: int
) -> None:
    assert covered_pairs(better, worse, count) >= 0.94


def test_the_bootstrap_covers_what_it_should() -> None:
    """Forty sets, where three standard errors are 10 points."""
    draw, mean = CONTINUOUS["differences, all items differ"]
    assert covered(draw, mean, 20, 40) >= 0.84
