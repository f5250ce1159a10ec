"""Fitting a cascade: the threshold, its level, and the calibration."""

import random
from statistics import fmean

import pytest
from sklearn.isotonic import IsotonicRegression

from silkline.distil.calibration import calibration_error, isotonic
from silkline.distil.fit import Answered, fit
from silkline.errors import ConfigError


def answers(
    seed: int, items: int = 2000, *, images: int = 2000, honest: bool = True, large: float = 1.0
) -> Answered:
    """A small model that is right as often as it says; if not honest, 80% of the time."""
    chance = random.Random(seed)
    sure = [chance.betavariate(5, 0.5) for _ in range(items)]
    small = [float(chance.random() < (c if honest else 0.8)) for c in sure]
    right = [float(chance.random() < large) for _ in range(items)]
    return Answered(sure, small, right, [index % images for index in range(items)])


def test_the_fit_keeps_the_quality_with_few_questions_to_the_large_model() -> None:
    found = fit(answers(1), keep=0.97, confidence=0.95)
    assert found.chosen.low >= found.wanted
    assert found.chosen.quality >= 0.97
    assert found.oracle < found.chosen.escalated < 0.6
    assert found.small < 0.95


def test_a_confidence_that_tells_nothing_escalates_nearly_all() -> None:
    found = fit(answers(2, honest=False), keep=0.97, confidence=0.95)
    assert found.chosen.escalated > 0.8


def test_less_to_keep_escalates_less() -> None:
    shares = [fit(answers(3), keep, 0.95).chosen.escalated for keep in (0.99, 0.97, 0.95)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > shares[-1]


def test_a_cascade_that_loses_too_much_passes_at_most_as_often_as_stated() -> None:
    """Fits on one sample, judged by the true quality of the threshold."""
    truth = answers(999, 20_000)
    broken = 0
    for seed in range(20):
        found = fit(answers(seed, 500), keep=0.95, confidence=0.9)
        quality = fmean(
            own if sure >= found.chosen.threshold else 1.0
            for sure, own in zip(truth.confidences, truth.small, strict=True)
        )
        broken += quality < 0.95
    assert broken <= 5  # 2 are expected


def test_items_about_one_image_count_less() -> None:
    alone = fit(answers(4), keep=0.97, confidence=0.95)
    together = fit(answers(4, images=150), keep=0.97, confidence=0.95)
    assert together.chosen.low < alone.chosen.quality
    assert together.chosen.escalated >= alone.chosen.escalated


def test_too_few_items_are_refused_with_the_number_that_would_do() -> None:
    with pytest.raises(ConfigError, match=r"40 items are too few .* Use at least \d"):
        fit(answers(5, 40), keep=0.99, confidence=0.95)


def test_one_image_is_refused() -> None:
    with pytest.raises(ConfigError, match="two images"):
        fit(answers(6, images=1), keep=0.99, confidence=0.95)


@pytest.mark.parametrize("seed", range(5))
def test_the_calibration_is_isotonic_regression(seed: int) -> None:
    given = answers(seed, 400)
    rounded = [round(sure, 2) for sure in given.confidences]
    found = isotonic(rounded, given.small)
    oracle = IsotonicRegression(out_of_bounds="clip").fit(rounded, given.small)
    expected = oracle.predict(rounded)
    assert [found(sure) for sure in rounded] == pytest.approx(list(expected), abs=1e-9)
    assert list(found.chances) == sorted(found.chances)


def test_a_calibrated_model_has_a_small_error() -> None:
    honest, other = answers(7), answers(7, honest=False)
    assert calibration_error(honest.confidences, honest.small) < 0.02
    assert calibration_error([1.0] * 2000, other.small) == pytest.approx(0.2, abs=0.03)
    assert fit(honest, 0.95, 0.95).calibrated_error < 0.03
