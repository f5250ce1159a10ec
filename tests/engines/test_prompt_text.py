import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from silkline.core import ImagePart, Message, Part, Role, TextPart
from silkline.engines.prompt_text import ZERO_WIDTH_SPACE, SafeText, check_image_indices
from silkline.errors import InvalidRequest

TOKENS = ("<image>", "<|end|>", "|>x", "<s>", "</s>", " ", "", "\n\n")
PARTS = st.lists(
    st.one_of(
        st.sampled_from([*TOKENS, "<im", "age>", "<|e", "nd|>x"]).map(TextPart),
        st.text("<image>|ends/x \n", max_size=4).map(TextPart),
        st.just(ImagePart(0)),
    ),
    max_size=10,
)


def user(*parts: Part) -> Message:
    return Message(Role.USER, tuple(parts))


@given(PARTS)
def test_no_special_token_survives_wherever_the_pictures_go(parts: list[Part]) -> None:
    """A template may write all pictures first, and then the texts as one."""
    made = list(SafeText(TOKENS).parts(user(*parts)))
    texts = [part for part in made if isinstance(part, str)]
    for text in (*texts, "".join(texts)):
        assert not any(token in text for token in TOKENS if token.strip())
    said = "".join(part.text for part in parts if isinstance(part, TextPart))
    assert "".join(texts).replace(ZERO_WIDTH_SPACE, "") == said


@given(PARTS)
def test_pictures_and_texts_keep_their_order(parts: list[Part]) -> None:
    made = list(SafeText(()).parts(user(*parts)))
    marked = "".join("*" if isinstance(part, ImagePart) else part for part in made)
    assert marked == "".join("*" if isinstance(part, ImagePart) else part.text for part in parts)


def test_ordinary_text_stays_as_it_is() -> None:
    text = "a < b, 1 <i>mage</i>\n\nimage>"
    assert list(SafeText(TOKENS).parts(user(TextPart(text)))) == [text]


def test_tokens_that_overlap_are_both_broken() -> None:
    made = list(SafeText(["ab", "bc"]).parts(user(TextPart("abc"))))
    assert made == [f"a{ZERO_WIDTH_SPACE}b{ZERO_WIDTH_SPACE}c"]


def test_thousands_of_special_tokens_take_no_longer_than_a_few() -> None:
    tokens = [f"<unused{number}>" for number in range(20_000)] + ["[INST]"]
    text = "<" * 100_000 + "<unused19999>" + "<unused20000>"
    began = time.monotonic()
    made = list(SafeText(tokens).parts(user(TextPart(text))))
    assert made == [text.replace("<unused19999>", f"<{ZERO_WIDTH_SPACE}unused19999>")]
    assert time.monotonic() - began < 5, "each was tried at each character"


def test_patterns_are_broken_too() -> None:
    made = list(SafeText([], [r"<tag_\d+>"]).parts(user(TextPart("<tag_12> <tag_>"))))
    assert made == [f"<{ZERO_WIDTH_SPACE}tag_12> <tag_>"]


def test_places_are_checked() -> None:
    messages = [user(ImagePart(0), TextPart("and"), ImagePart(1))]
    check_image_indices(messages, 2)
    for images in (0, 1, 3):
        with pytest.raises(InvalidRequest, match="Refer to each image once"):
            check_image_indices(messages, images)
