from typing import Any

import pytest

from silkline.catalog.checks import REFUSED_KINDS, Outcome, outcome
from silkline.catalog.description import Style
from silkline.catalog.vocabulary import Language
from tests.catalog.products import MUG, findings, found, product


def test_what_the_table_and_the_image_agree_on_has_no_finding() -> None:
    assert findings() == []
    assert outcome(found()) is Outcome.PUBLISH


@pytest.mark.parametrize(
    ("name", "value"),
    [("category", "hat"), ("colour", "blue"), ("pattern", "plain"), ("count", 2), ("label", "NEW")],
)
def test_a_value_that_the_image_contradicts_needs_an_editor(name: str, value: object) -> None:
    kinds = findings(product(**{name: value}))
    assert kinds == [("unseen" if name == "label" else "contradicted", name)]
    assert outcome(found(product(**{name: value}))) is Outcome.REVIEW


def test_a_value_that_only_the_image_shows_is_flagged_where_the_table_says_none() -> None:
    assert findings(seen=MUG | {"label": "SALE"}) == [("contradicted", "label")]


def test_what_the_table_does_not_know_is_taken_from_the_image() -> None:
    unknown = product()
    attributes = {key: value for key, value in unknown.attributes.items() if key != "colour"}
    assert findings(product().__class__(id="x", attributes=attributes, image="")) == []


def test_a_price_tag_in_the_image_is_compared_with_the_price() -> None:
    assert findings(product("39"), MUG | {"label": "$39"}) == []
    assert findings(product("45"), MUG | {"label": "$39"}) == [("contradicted", "price")]


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"title": "Red striped mug for $29"}, ("price", "title")),
        ({"bullets": ("Now 20% off",)}, ("price", "bullets")),
        ({"alt_text": "The best mug"}, ("claim", "alt_text")),
        ({"tags": ("waterproof",)}, ("claim", "tags")),
        ({"attributes": {"label": "$5"}}, ("price", "attributes")),
        ({"title": "x" * 81}, ("schema", "description")),
        ({"bullets": ()}, ("schema", "description")),
        ({"attributes": {"colour": "mauve"}}, ("schema", "description")),
        ({"attributes": {"weight": "1 kg"}}, ("schema", "description")),
        ({"language": Language.CHINESE}, ("schema", "description")),
    ],
)
def test_what_is_refused(changes: dict[str, Any], finding: tuple[str, str]) -> None:
    assert finding in findings(**changes)
    assert outcome(found(**changes)) is Outcome.REFUSE


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"title": "Green striped mug"}, ("ungrounded", "title")),
        ({"bullets": ("Made of leather",)}, ("ungrounded", "bullets")),
        ({"bullets": ("Comes with two hats",)}, ("ungrounded", "bullets")),
        ({"attributes": {"material": "steel"}}, ("ungrounded", "material")),
        ({"attributes": {"count": 3}}, ("ungrounded", "count")),
        ({"title": "红色条纹马克杯"}, ("language", "title")),
    ],
)
def test_what_needs_an_editor(changes: dict[str, Any], finding: tuple[str, str]) -> None:
    assert findings(**changes) == [finding]
    assert finding[0] not in {kind.value for kind in REFUSED_KINDS}
    assert outcome(found(**changes)) is Outcome.REVIEW


def test_the_price_of_the_table_may_be_stated() -> None:
    assert findings(bullets=("Price: $39.00",)) == []


def test_a_longer_word_is_not_taken_for_the_word_inside_it() -> None:
    pink = MUG | {"colour": "pink"}
    style = Style(language=Language.CHINESE)
    assert findings(product(colour="pink"), pink, style, title="粉红色马克杯") == []
    assert findings(product(colour="pink"), pink, style, title="红色马克杯") == [
        ("ungrounded", "title")
    ]


def test_chinese_text_without_chinese_is_flagged() -> None:
    style = Style(language=Language.CHINESE)
    assert findings(style=style, title="Red mug") == [("language", "title")]
