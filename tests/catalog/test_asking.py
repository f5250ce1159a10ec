"""The two questions to a model: what an image shows, and a whole description."""

import json
from typing import Any

import msgspec
import pytest

from examples.shop.words import VOCABULARY
from silkline.catalog.authoring import Author
from silkline.catalog.description import Length, Style
from silkline.catalog.freshness import stamp
from silkline.catalog.product import Price
from silkline.catalog.reading import Reading
from silkline.catalog.vocabulary import Attribute, Language, Words
from silkline.errors import ConfigError, EngineFailed
from tests.catalog.products import MUG, composed, product

READING = Reading(VOCABULARY)


def prompt(messages: list[dict[str, Any]]) -> str:
    text = messages[0]["content"][1]["text"]
    assert isinstance(text, str)
    return text


def test_a_reading_asks_for_the_visible_attributes_and_tells_nothing() -> None:
    text = prompt(READING.messages("data:image/jpeg;base64,AA=="))
    assert "- colour: red, orange" in text
    assert "material" not in text
    schema = READING.response_format()["json_schema"]["schema"]
    assert list(schema["properties"]) == ["category", "colour", "pattern", "count", "label"]
    assert READING.parse(json.dumps(MUG)) == MUG


@pytest.mark.parametrize(
    "answer",
    ["", "{", "[]", "{}", json.dumps(MUG | {"colour": "mauve"}), json.dumps(MUG | {"count": 0}),
     json.dumps(MUG | {"count": True}), json.dumps(MUG | {"extra": 1}),
     json.dumps(MUG | {"label": "x" * 21})],
)  # fmt: skip
def test_an_answer_that_is_not_asked_for_is_an_error(answer: str) -> None:
    with pytest.raises(EngineFailed):
        READING.parse(answer)


def test_an_author_gets_the_facts_and_the_rules_but_no_price() -> None:
    style = Style(language=Language.CHINESE, length=Length.SHORT)
    text = prompt(Author(VOCABULARY).messages(product("39"), MUG, style, "https://x/y.jpg"))
    assert "Simplified Chinese" in text
    assert "1 to 2 bullets" in text
    assert '"material":"ceramic"' in text
    assert "39" not in text


def test_an_authors_answer_is_a_description() -> None:
    description = composed(product(), MUG, Style())
    author = Author(VOCABULARY)
    assert author.parse(msgspec.json.encode(description).decode()) == description
    with pytest.raises(EngineFailed):
        author.parse('{"title": "cut')


def test_a_stamp_says_what_changed() -> None:
    before = stamp(product(), Style(), "1")
    assert before.changed_since(stamp(product(), Style(), "1")) == ()
    assert stamp(product(colour="blue"), Style(), "1").changed_since(before) == ("record",)
    assert stamp(product("40"), Style(), "1").changed_since(before) == ("record",)
    moved = msgspec.structs.replace(product(), image="f" * 32)
    assert stamp(moved, Style(), "2").changed_since(before) == ("image", "maker")
    same_price = msgspec.structs.replace(product(), price=Price(product().price.amount, "EUR"))  # type: ignore[union-attr]
    assert stamp(same_price, Style(), "1").changed_since(before) == ("record",)


def test_an_attribute_without_values_cannot_be_a_choice() -> None:
    with pytest.raises(ConfigError, match="size"):
        Attribute(name="size", heading=Words(en=("Size",), zh=("尺码",)))
