import pytest
from hypothesis import given
from hypothesis import strategies as st

from silkline.core import ImagePart, Message, Role, TextPart
from silkline.engines.openvino.prompt import (
    Contents,
    without_images,
)
from silkline.engines.prompt_text import ZERO_WIDTH_SPACE, check_image_indices
from silkline.errors import InvalidRequest

RESERVED = ("<image>", "<|end|>", "<|user|>")
TAGS = (*RESERVED, "<ov_genai_image_0>", "<ov_genai_image_12>", "<ov_genai_video_3>")


def user(*parts: TextPart | ImagePart) -> Message:
    return Message(Role.USER, parts)


def test_pictures_and_text_keep_their_order() -> None:
    message = user(ImagePart(0), TextPart("and"), ImagePart(1), TextPart("What?"))
    contents = Contents(RESERVED)
    assert contents.text(message) == "<ov_genai_image_0>and<ov_genai_image_1>What?"
    assert contents.one_part(message) == [{"type": "text", "text": contents.text(message)}]
    assert contents.parts(message) == [
        {"type": "image"},
        {"type": "text", "text": "and"},
        {"type": "image"},
        {"type": "text", "text": "What?"},
    ]


@given(st.lists(st.one_of(st.sampled_from(TAGS), st.text(max_size=4)), max_size=12).map("".join))
def test_no_special_token_of_a_client_survives(text: str) -> None:
    content = Contents(RESERVED).text(user(TextPart(text)))
    assert not any(tag in content for tag in TAGS)
    assert content.replace(ZERO_WIDTH_SPACE, "") == text.replace(ZERO_WIDTH_SPACE, "")


@given(st.lists(st.one_of(st.sampled_from(TAGS), st.text("<image>|", max_size=3)), max_size=8))
def test_a_special_token_split_over_parts_does_not_survive(texts: list[str]) -> None:
    parts = [TextPart(character) for text in texts for character in text]
    content = Contents(RESERVED).text(user(*parts))
    assert not any(tag in content for tag in TAGS)


@given(st.text(alphabet="abc <>|", max_size=30))
def test_other_text_stays_as_it_is(text: str) -> None:
    content = Contents(RESERVED).text(user(TextPart(text)))
    assert content == text


@pytest.mark.parametrize(
    ("places", "images"), [([0], 0), ([1], 1), ([0, 0], 1), ([1, 0], 2), ([], 1), ([-1], 1)]
)
def test_pictures_that_do_not_match_are_refused(places: list[int], images: int) -> None:
    message = user(TextPart("?"), *(ImagePart(place) for place in places))
    with pytest.raises(InvalidRequest, match="Refer to each image once"):
        check_image_indices([message], images)


def test_only_the_gateways_own_tags_count_as_pictures() -> None:
    content = Contents(RESERVED).text(user(ImagePart(0), TextPart("<ov_genai_image_0>")))
    assert without_images(content) == f"\n<{ZERO_WIDTH_SPACE}ov_genai_image_0>"
