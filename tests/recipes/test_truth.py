"""Truth, questions and records: they agree with one another."""

import json

import pytest

from recipes.mini.chat import CHAT_TEMPLATE, OPENVINO_CHAT_TEMPLATE, format_prompt
from recipes.mini.eyes_targets import HEADS, targets
from recipes.mini.questions import KINDS, draw_pair
from recipes.mini.records import parse_record, score_records
from recipes.mini.scene import generator, sample_scene
from recipes.mini.vocabulary import CATEGORIES, COLOURS, PATTERNS, PLAIN_ONLY


def test_the_record_is_the_truth() -> None:
    scene = sample_scene(8, category="watch", colour="red", pattern="dotted", count=2, label="$7")
    assert json.loads(scene.record_text()) == {
        "category": "watch",
        "colour": "red",
        "pattern": "dotted",
        "count": 2,
        "label": "$7",
    }
    assert scene.noun_phrase() == "two red dotted watches"
    assert scene.sentence().endswith('background with a label that says "$7".')


def test_articles_and_plurals() -> None:
    orange = sample_scene(1, category="mug", colour="orange", pattern="plain", count=1)
    trousers = sample_scene(1, category="trousers", colour="blue", pattern="plain", count=1)
    assert orange.noun_phrase() == "an orange mug"
    assert trousers.noun_phrase() == "a pair of blue trousers"


def test_items_without_a_surface_stay_plain() -> None:
    for name in PLAIN_ONLY:
        assert sample_scene(5, category=name, pattern="dotted").pattern == "plain"


def test_every_kind_of_question_is_answered_from_the_truth() -> None:
    for seed in range(200):
        scene, rng = sample_scene(seed), generator(seed, 8)
        for kind in KINDS:
            question, answer = draw_pair(kind, scene, rng)
            assert question
            assert answer
            if kind in {"category", "colour", "pattern", "background"}:
                assert answer == getattr(scene, kind)
            if kind == "record":
                assert json.loads(answer) == scene.record()
            if kind == "yes_no":
                assert answer in {"yes", "no"}


def test_all_values_occur() -> None:
    scenes = [sample_scene(seed) for seed in range(2000)]
    assert {scene.category for scene in scenes} == set(CATEGORIES)
    assert {scene.colour for scene in scenes} == set(COLOURS)
    assert {scene.pattern for scene in scenes} == set(PATTERNS)
    assert {scene.count for scene in scenes} == {1, 2, 3}
    assert any(scene.label is None for scene in scenes)


@pytest.mark.parametrize(
    ("label", "expected"),
    [(None, [0, 10, 10]), ("$7", [5, 10, 7]), ("$42", [5, 4, 2]), ("ECO", [3, 10, 10])],
)
def test_label_targets(label: str | None, expected: list[int]) -> None:
    numbers = targets(sample_scene(2, label=label))
    assert numbers[-3:] == expected
    assert all(0 <= n < size for n, size in zip(numbers, HEADS.values(), strict=True))


def test_a_broken_record_scores_nothing() -> None:
    scene = sample_scene(9)
    assert parse_record("{") is None
    assert parse_record('{"category":"mug"}') is None
    assert parse_record("[1]") is None
    scores = score_records([scene.record_text(), "no idea"], [scene, scene])
    assert scores["valid"] == scores["both"] == scores["all"] == 0.5


def test_the_prompt_has_one_picture_and_the_engines_line_break() -> None:
    assert format_prompt("Hi.") == "<|user|><image>Hi.<|end|><|assistant|>"
    with_break = format_prompt("Hi.", "Be brief.", line_break=True)
    assert with_break == "<|system|>Be brief.<|end|><|user|><image>\nHi.<|end|><|assistant|>"
    assert "<image>\\n" in CHAT_TEMPLATE
    assert "<image>\\n" not in OPENVINO_CHAT_TEMPLATE
