"""Verdicts on drawn answers: how often they are right, and what they say."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from random import Random

import pytest

from silkline.evaluate.item import Item
from silkline.evaluate.margin import items_needed
from silkline.evaluate.metrics.catalogue import METRICS
from silkline.models.gate import Finding, Verdict
from silkline.optimize.quality import Judged, QualityJudge
from silkline.optimize.requirements import parse_requirements
from tests.evaluate.items import item, reply

EXACT = METRICS["exact_match"]
RUNS = 100


@dataclass(frozen=True)
class Asked:
    """A set of items, of which each side answers some correctly."""

    items: list[Item]

    def judge(
        self, requirement: str, worse: Collection[int], better: Collection[int] = ()
    ) -> Judged:
        """Judges a candidate that loses some items of the baseline, and gains others."""
        count = len(self.items)
        first = [float(number not in better) for number in range(count)]
        second = [float(number not in worse) for number in range(count)]
        right, wrong = reply("a mug"), reply("no")
        replies = tuple([right if value else wrong for value in side] for side in (first, second))
        scores = ({"exact_match": first}, {"exact_match": second})
        judge = QualityJudge(self.items, (replies[0], replies[1]), scores, 0.95)
        return judge.judge(parse_requirements([requirement], [EXACT])[0])

    def drawn(self, requirement: str, worse: float, better: float, chance: Random) -> Judged:
        """Judges a candidate under which shares of the images change, each with all its items."""
        images = sorted({each.group for each in self.items})
        draws = {image: chance.random() for image in images}
        numbers = range(len(self.items))
        return self.judge(
            requirement,
            {number for number in numbers if draws[self.items[number].group] < worse},
            {number for number in numbers if draws[self.items[number].group] > 1 - better},
        )


def asked(count: int, *, each: int = 1, slices: Sequence[str] = ("x", "y")) -> Asked:
    """Items in slices that take turns, with `each` questions about an image."""
    return Asked(
        [
            item(
                "a mug",
                name=str(number),
                group=str(number // each),
                fields={"kind": slices[number % len(slices)]},
            )
            for number in range(count)
        ]
    )


def verdicts(found: Judged) -> set[Verdict]:
    return {finding.verdict for finding in found.findings}


@pytest.mark.parametrize("each", [1, pytest.param(4, marks=pytest.mark.full)])
def test_an_equal_model_passes_and_one_that_loses_twice_the_margin_is_refused(each: int) -> None:
    """2% of the answers change by chance; 1.5 points may be lost."""
    chance, requirement = Random(7), "accuracy_drop<=1.5pt"
    small, large = asked(1600 * each, each=each), asked(2400 * each, each=each)
    passed = refused = wrongly_passed = 0
    for _ in range(RUNS):
        passed += verdicts(small.drawn(requirement, 0.01, 0.01, chance)) == {Verdict.PASSED}
        found = verdicts(large.drawn(requirement, 0.04, 0.01, chance))
        refused += Verdict.REFUSED in found
        wrongly_passed += found == {Verdict.PASSED}
    assert passed >= 95
    assert refused >= 92  # 2,400 images have a power of 96%
    assert wrongly_passed == 0


def test_a_loss_of_exactly_the_margin_rarely_passes() -> None:
    chance, items = Random(8), asked(600)
    found = [items.drawn("accuracy_drop<=2pt", 0.03, 0.01, chance) for _ in range(RUNS)]
    assert sum(verdicts(each) == {Verdict.PASSED} for each in found) <= 10


def test_slices_are_corrected_for_being_many() -> None:
    chance = Random(10)
    items = asked(400, slices=[f"s{number}" for number in range(20)])
    found = [items.drawn("accuracy_drop<=1pt", 0.03, 0.03, chance) for _ in range(RUNS)]
    assert sum(Verdict.REFUSED in verdicts(each) for each in found) <= 5


def test_a_small_slice_that_breaks_refuses_though_all_items_pass() -> None:
    items = asked(2000, slices=["x"] * 19 + ["label"])
    broken = items.judge("accuracy_drop<=3pt", range(19, 2000, 60))
    overall, part = broken.findings
    assert overall.verdict is Verdict.PASSED
    assert (part.verdict, part.requirement) == (
        Verdict.REFUSED,
        "accuracy_drop<=3pt where kind is label",
    )
    assert "34.0 points lost on 100 items" in part.reason
    assert [(each.value, each.refused) for each in broken.slices] == [("label", True), ("x", False)]


def first_of(found: Judged) -> Finding:
    return found.findings[0]


def test_too_small_says_how_many_items_would_do() -> None:
    small = first_of(asked(100).judge("accuracy_drop<=0.5pt", {1}, {2}))
    assert small.verdict is Verdict.UNDECIDED
    needed = items_needed(0.005, 0.02, 0.95)
    assert (
        f"The set is too small: with {needed:,} such items an equally good model would pass in 8 "
        "of 10 cases."
    ) in small.reason
    shared = first_of(asked(100, each=5).judge("accuracy_drop<=0.5pt", {1, 2}, {7}))
    assert "on 100 items about 20 images" in shared.reason
    assert "such items about" in shared.reason


def test_one_image_shows_nothing() -> None:
    found = first_of(asked(8, each=8).judge("accuracy_drop<=5pt", ()))
    assert (found.verdict, found.value) == (Verdict.UNDECIDED, None)
    assert "no items about two images" in found.reason


@pytest.mark.parametrize(
    ("requirement", "verdict", "value"),
    [
        ("accuracy>=80%", Verdict.PASSED, 0.9),
        ("accuracy>=99%", Verdict.REFUSED, 0.9),
        ("accuracy>=89%", Verdict.UNDECIDED, 0.9),
        ("accuracy>=91%", Verdict.UNDECIDED, 0.9),
        ("agreement>=80%", Verdict.PASSED, 0.875),
        ("agreement>=95%", Verdict.REFUSED, 0.875),
    ],
)
def test_levels_and_agreement(requirement: str, verdict: Verdict, value: float) -> None:
    judged = asked(400).judge(requirement, range(40), range(40, 50))
    found = first_of(judged)
    assert found.verdict is verdict
    assert found.value == pytest.approx(value)
    assert (found.low or 0) < value < (found.high or 0) <= 1
    assert not judged.slices
    if verdict is Verdict.UNDECIDED:
        would = "would rather refuse it" if "91" in requirement else "it would pass in 8 of 10"
        assert would in found.reason


def test_a_missing_answer_agrees_with_nothing() -> None:
    items = [item("a", name=str(number)) for number in range(40)]
    none = [reply(None, each.id) for each in items]
    scores = {"exact_match": [0.0] * 40}
    judge = QualityJudge(items, (none, none), (scores, scores), 0.95)
    found = judge.judge(parse_requirements(["agreement>=50%"], [EXACT])[0])
    assert first_of(found).verdict is Verdict.REFUSED


def without_answers_of_the_baseline(requirement: str, missing: int) -> Judged:
    """600 items: the baseline is right where it answers, and the candidate loses 24 of them."""
    items = [item("a mug", name=str(number)) for number in range(600)]
    first = [0.0] * missing + [1.0] * (600 - missing)
    second = [1.0] * 576 + [0.0] * 24
    replies = (
        [reply("a mug" if value else None) for value in first],
        [reply("a mug" if value else "no") for value in second],
    )
    judge = QualityJudge(items, replies, ({"exact_match": first}, {"exact_match": second}), 0.95)
    return judge.judge(parse_requirements([requirement], [EXACT])[0])


@pytest.mark.parametrize("missing", [12, 24, 300])
def test_what_the_baseline_did_not_answer_makes_up_for_no_loss(missing: int) -> None:
    found = first_of(without_answers_of_the_baseline("accuracy_drop<=2pt", missing))
    assert found.verdict is Verdict.REFUSED
    assert found.value == pytest.approx(24 / (600 - missing))
    assert f"{missing} items are left out: the baseline did not answer them." in found.reason


def test_a_baseline_without_answers_shows_nothing() -> None:
    found = first_of(without_answers_of_the_baseline("accuracy_drop<=2pt", 599))
    assert (found.verdict, found.value) == (Verdict.UNDECIDED, None)
