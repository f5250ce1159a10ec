"""What is looked at of a computed answer."""

from random import Random

import pytest

from silkline.drift.features import Observed, Output, features_of, fields_of
from silkline.ingress.identity import Identity

IMAGE = Identity("d", 640 * 320, 0b1011, 320, 160, "jpeg", 90)


def features(seen: Observed, fields: tuple[str, ...] = ()) -> dict[str, object]:
    return dict(features_of(seen, (0, 0b1111), fields, Random(0)))


def answer(text: str | None) -> Observed:
    return Observed((), 10, (Output(5, "stop", text),))


def test_an_image_has_its_sizes_format_brightness_and_look() -> None:
    assert features(Observed((IMAGE,), 12, ())) == {
        "text_length": 12, "images": 1, "pixels": 640 * 320, "aspect": 1.0, "format": "jpeg",
        "brightness": 90, "look": "1", "novelty": 1,
    }  # fmt: skip


def test_what_is_not_known_of_an_image_has_no_value() -> None:
    found = features(Observed((Identity("d", 100, None),), 1, ()))
    assert found == {"text_length": 1, "images": 1, "pixels": 100}


def test_an_answer_without_text_has_its_length_and_end_only() -> None:
    assert features(answer(None), ("colour",)) == {
        "text_length": 10, "images": 0, "answer_length": 5, "finish": "stop",
    }  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I am unable to identify people in images.",
        "I can\u2019t help with that image.",
        "As an AI, I have no opinion.",
        "抱歉我无法回答这个问题。",
        "申し訳ありませんが、お答えできません。",
    ],
)
def test_refusals_are_found(text: str) -> None:
    assert features(answer(text))["refusal"] == "yes"


@pytest.mark.parametrize(
    "text", ["A red mug.", "The sign says: sorry we are closed.", "他在无法无天的城市。", ""]
)
def test_other_answers_are_no_refusals(text: str) -> None:
    assert features(answer(text))["refusal"] == "no"


@pytest.mark.parametrize(("text", "words"), [("Mug mug", {"mug"}), ("红杯", {"红", "杯"})])
def test_one_word_of_each_answer_is_drawn(text: str, words: set[str]) -> None:
    draw = Random(1)
    drawn = {dict(features_of(answer(text), (), (), draw))["vocabulary"] for _ in range(40)}
    assert drawn == words


def test_the_fields_of_a_structured_answer() -> None:
    found = features(answer('{"colour": "Red", "count": 2}'), ("colour", "count", "size"))
    fields = {name: value for name, value in found.items() if name.startswith("field:")}
    assert fields == {"field:colour": "red", "field:count": "2", "field:size": "(absent)"}


@pytest.mark.parametrize("text", ["[1]", "{", '"x"', "{'a': 1}", '{"a": [1]}', "\ud800{"])
def test_what_is_no_object_has_no_fields(text: str) -> None:
    assert fields_of(text) == {}
