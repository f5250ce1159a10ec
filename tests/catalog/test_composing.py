import itertools
import json

import jsonschema_rs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.shop.words import VOCABULARY
from silkline.catalog.description import Length, Style, Tone, description_schema
from silkline.catalog.vocabulary import Attribute, Language, Value
from tests.catalog.products import CHECKER, MUG, composed, product

STYLES = [Style(*one) for one in itertools.product(Language, Tone, Length)]


def values(attribute: Attribute) -> st.SearchStrategy[Value]:
    if attribute.kind == "number":
        return st.none() | st.integers(1, attribute.max_number)
    if attribute.values:
        return st.sampled_from([None, *attribute.values])
    return st.sampled_from([None, "SALE", "NEW", "$39", "$5", "39 EUR"])


RECORDS = st.fixed_dictionaries(
    {}, optional={one.name: values(one) for one in VOCABULARY.attributes}
)
SEEN = st.fixed_dictionaries({one.name: values(one) for one in VOCABULARY.visible()})


@given(RECORDS, SEEN, st.sampled_from(STYLES))
def test_whatever_is_known_the_text_has_the_schema_and_invents_nothing(
    record: dict[str, Value], seen: dict[str, Value], style: Style
) -> None:
    record.pop("label", None)  # a shop that has a price as the text of a tag is told so
    one = msgspec.structs.replace(product(), attributes=record)
    description = composed(one, seen, style)
    schema = description_schema(VOCABULARY, style)
    assert jsonschema_rs.is_valid(schema, json.loads(msgspec.json.encode(description)))
    kinds = {finding.kind.value for finding in CHECKER.check(description, one, seen, style)}
    assert kinds <= {"contradicted", "unseen"}


@pytest.mark.parametrize(
    ("language", "title", "alt_text", "bullet"),
    [
        ("en", "Red striped mug", "Red striped mug", "Material: ceramic"),
        ("zh", "红色条纹马克杯", "图片：红色条纹马克杯，共1件", "材质：陶瓷"),
    ],
)
def test_what_a_mug_is_called(language: str, title: str, alt_text: str, bullet: str) -> None:
    style = Style(language=Language(language), length=Length.LONG)
    description = composed(product(), MUG, style)
    assert description.title == title
    assert description.alt_text == alt_text
    assert bullet in description.bullets


def test_the_text_for_the_image_follows_the_image_and_the_title_the_table() -> None:
    description = composed(product(colour="blue"), MUG | {"count": 2, "label": "SALE"}, Style())
    assert description.title == "Blue striped mug"
    assert description.alt_text == 'Two items: red striped mug, with the text "SALE"'


def test_a_set_says_so_and_a_plain_surface_is_not_mentioned() -> None:
    three = product(count=3, pattern="plain", material=None)
    assert composed(three, MUG, Style()).title == "Red mug, set of 3"
    assert composed(three, MUG, Style()).bullets == ("Colour: red", "Number of items: 3")
    assert composed(three, MUG, Style(language=Language.CHINESE)).title == "红色马克杯（3件）"
