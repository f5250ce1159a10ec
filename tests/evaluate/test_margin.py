import math
import random
from collections.abc import Callable, Sequence
from statistics import NormalDist

import pytest

from silkline.evaluate.margin import Drop, drop_of, items_needed

SETS = 250
POINT = 0.01
POWER_SETS = 800


def losses(
    clusters: int, size: int, worse: float, better: float, alike: float, chance: random.Random
) -> list[float]:
    """A set of images with `size` questions each; in a share `alike` of them all change alike."""

    def one() -> float:
        drawn = chance.random()
        return 1.0 if drawn < worse else -1.0 if drawn > 1 - better else 0.0

    found: list[float] = []
    for _ in range(clusters):
        found += [one()] * size if chance.random() < alike else [one() for _ in range(size)]
    return found


def drops(
    seed: int, clusters: int, size: int, worse: float, better: float, alike: float
) -> list[Drop]:
    chance = random.Random(seed)
    groups = [number // size for number in range(clusters * size)]
    drawn = (losses(clusters, size, worse, better, alike, chance) for _ in range(SETS))
    return [drop_of(each, groups) for each in drawn]


def share(found: Sequence[Drop], holds: Callable[[Drop], bool]) -> float:
    return sum(map(holds, found)) / len(found)


_MORE = [
    (200, 1, 0.06, 0.04, 0.0),
    (1000, 1, 0.004, 0.001, 0.0),
    (50, 10, 0.02, 0.0, 0.3),
    (200, 10, 0.02, 0.0, 0.3),
    (200, 10, 0.0125, 0.0075, 1.0),
    (200, 10, 0.0125, 0.0075, 0.0),
]


@pytest.mark.parametrize(
    ("clusters", "size", "worse", "better", "alike"),
    [
        (200, 1, 0.02, 0.0, 0.0),
        (100, 5, 0.03, 0.01, 1.0),
        (100, 5, 0.03, 0.01, 0.3),
        *(pytest.param(*each, marks=pytest.mark.full) for each in _MORE),
    ],
)
def test_each_end_of_the_interval_is_right_in_about_95_of_100_sets(
    clusters: int, size: int, worse: float, better: float, alike: float
) -> None:
    found, true = drops(1, clusters, size, worse, better, alike), worse - better
    # 250 sets: 1.4 points of standard error, and the counts are discrete
    assert share(found, lambda drop: drop.p_less(true) >= 0.05) >= 0.92
    assert share(found, lambda drop: drop.p_more(true) >= 0.05) >= 0.87  # refuses more easily


def test_items_counted_one_by_one_claim_too_much_where_questions_share_an_image() -> None:
    def alone(drop: Drop) -> bool:
        return Drop(drop.items, drop.items, drop.worse, drop.better, 1.0).p_less(0.02) >= 0.05

    found = drops(3, 100, 10, 0.04, 0.02, 1.0)
    assert share(found, alone) < 0.8
    assert share(found, lambda drop: drop.p_less(0.02) >= 0.05) >= 0.92


def test_the_interval_and_the_tests_agree() -> None:
    drop = drop_of([1.0] * 9 + [-1.0] * 3 + [0.0] * 388, range(400))
    low, high = drop.interval(0.95)
    assert drop.value == pytest.approx(0.015)
    assert drop.p_more(low) == pytest.approx(0.05, abs=1e-6)
    assert drop.p_less(high) == pytest.approx(0.05, abs=1e-6)
    mirrored = drop_of([-1.0] * 9 + [1.0] * 3 + [0.0] * 388, range(400)).interval(0.95)
    assert mirrored == pytest.approx((-high, -low), abs=1e-9)


def test_the_statistic_takes_the_likeliest_shares_under_the_hypothesis() -> None:
    worse, better, items, margin = 9, 3, 400, 0.04
    gains = [number / 1e6 for number in range(1, 100_000)]
    likely = max(
        gains,
        key=lambda gain: (
            better * math.log(gain)
            + worse * math.log(gain + margin)
            + (items - worse - better) * math.log(1 - 2 * gain - margin)
        ),
    )
    spread = items * (2 * likely + margin - margin**2)
    z = (items * margin - (worse - better)) / math.sqrt(spread)
    drop = Drop(items, 10**9, worse, better, 1.0)
    assert drop.p_less(margin) == pytest.approx(1 - NormalDist().cdf(z), rel=1e-3)


def test_no_change_at_all_shows_less_with_fewer_images() -> None:
    alone = drop_of([0.0] * 1000, range(1000))
    shared = drop_of([0.0] * 1000, [number // 10 for number in range(1000)])
    assert alone.interval(0.95)[1] == pytest.approx(0.0027, abs=1e-4)
    assert shared.interval(0.95)[1] == pytest.approx(0.0268, abs=1e-4)
    assert shared.unit == 10.0


def test_scores_between_0_and_1() -> None:
    chance = random.Random(4)
    small = [chance.uniform(-0.1, 0.14) for _ in range(500)]
    drop = drop_of(small, range(500))
    low, high = drop.interval(0.95)
    mean = sum(small) / 500
    margin = 1.645 * (sum((each - mean) ** 2 for each in small) / 500 / 500) ** 0.5
    assert high - drop.value == pytest.approx(margin, rel=0.25)
    assert drop.value - low == pytest.approx(margin, rel=0.25)


@pytest.mark.parametrize("losses", [[], [1.0, 0.0]])
def test_one_image_gives_no_interval(losses: Sequence[float]) -> None:
    with pytest.raises(ValueError, match="two clusters"):
        drop_of(losses, ["one"] * len(losses))


def test_how_many_items_would_do() -> None:
    assert items_needed(0.3 * POINT, 0.005, 0.95) == 4054
    assert items_needed(0.3 * POINT, 0.02, 0.95) == 13931
    assert items_needed(0.3 * POINT, 0.02, 0.95, unit=3.0) == 41793
    assert items_needed(0.3 * POINT, 0.0, 0.95) == 900  # z squared / margin, for no change at all


@pytest.mark.parametrize(
    ("items", "changing", "margin", "least", "most"),
    [
        (4054, 0.005, 0.003, 0.77, 0.87),
        (13931, 0.02, 0.003, 0.76, 0.85),
        (3435, 0.005, 0.003, 0.70, 0.80),  # of the usual formula
        (1397, 0.02, 0.01, 0.77, 0.87),
    ],
)
def test_the_number_of_items_gives_the_power_that_it_promises(
    items: int, changing: float, margin: float, least: float, most: float
) -> None:
    chance = random.Random(5)
    passed = 0
    for _ in range(POWER_SETS):
        changes = _binomial(items, changing, chance)
        worse = _binomial(changes, 0.5, chance)
        drop = Drop(items, items, worse, changes - worse, 1.0)
        passed += drop.p_less(margin) < 0.05
    assert least <= passed / POWER_SETS <= most


def _binomial(count: int, share: float, chance: random.Random) -> int:
    """A binomial number, by the waiting times between successes."""
    found, at = 0, 0
    while True:
        at += 1 + int(math.log(1 - chance.random()) / math.log(1 - share))
        if at > count:
            return found
        found += 1
