"""How the benchmark of pruning scores answers, and which methods it calls useless."""

from __future__ import annotations

import pytest

from benchmarks.pruning import Arm, Item, arm_of, candidates, judged, questions
from silkline.models.pruning import Method


def test_answers_are_counted_by_slice_and_against_all_tokens() -> None:
    items = [
        Item(0, "label", "Read it.", "$5"),
        Item(0, "label", "Read it.", "no label"),
        Item(1, "yes_no", "Is there a tag?", "no"),
        Item(1, "describe", "What is it?", "A red mug."),
        Item(2, "colour", "Which colour?", "red"),
    ]
    arm = arm_of("merge", 32, [False, True, False, True, True], [True] * 4 + [False], items)
    assert arm.right == {
        "all": pytest.approx(0.6), "small text": 0, "absence": 0.5, "long answers": 1
    }  # fmt: skip
    drop, low, high = arm.drop
    assert drop == pytest.approx(20)
    assert low < drop < high


def arm(method: str, tokens: int, right: float) -> Arm:
    return Arm(method=method, tokens=tokens, right={"all": right}, drop=(0, 0, 0))


def test_a_method_is_held_against_the_baselines_of_as_many_tokens() -> None:
    arms = judged(
        [
            arm("none", 64, 0.8),
            arm("divprune", 36, 0.95),
            arm("merge", 36, 0.85),
            arm("cdpruner", 36, 0.7),
            arm("random", 36, 0.9),
            arm("downsample", 36, 0.8),
            arm("random", 49, 0.99),
        ]
    )
    found = {each.method: each.useless for each in arms if each.tokens != 49}
    assert found == {
        "none": (), "divprune": (), "merge": ("random",), "cdpruner": ("random", "downsample"),
        "random": (), "downsample": (),
    }  # fmt: skip


def test_every_method_is_measured_at_every_number_of_tokens() -> None:
    names = [name for name, _ in candidates("openvino")]
    assert {names.count(method) for method in Method} == {5}
    assert names.count("downsample") == 4
    images, items = questions(2)
    assert len(images) == 2
    assert len({item.kind for item in items}) == 6
