from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from silkline.core import ImagePart, Message, Role, TextPart
from silkline.engines.openvino.prompt import (
    Prompter,
    reserved_tokens,
    without_pictures,
)
from silkline.engines.prompt_text import ZERO_WIDTH_SPACE
from silkline.errors import ConfigError, InvalidRequest
from silkline.models.resolve import bundled_folder

RESERVED = ("<image>", "<|end|>", "<|user|>")
TAGS = (*RESERVED, "<ov_genai_image_0>", "<ov_genai_image_12>", "<ov_genai_video_3>")


def user(*parts: TextPart | ImagePart) -> Message:
    return Message(Role.USER, parts)


def test_pictures_and_text_keep_their_order() -> None:
    messages = [
        Message(Role.SYSTEM, (TextPart("Be brief."),)),
        user(ImagePart(0), TextPart("and"), ImagePart(1), TextPart("What?")),
    ]
    assert Prompter(RESERVED).turns(messages, images=2) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "<ov_genai_image_0>and<ov_genai_image_1>What?"},
    ]


@given(st.lists(st.one_of(st.sampled_from(TAGS), st.text(max_size=4)), max_size=12).map("".join))
def test_no_special_token_of_a_client_survives(text: str) -> None:
    content = Prompter(RESERVED).turns([user(TextPart(text))], images=0)[0]["content"]
    assert not any(tag in content for tag in TAGS)
    assert content.replace(ZERO_WIDTH_SPACE, "") == text.replace(ZERO_WIDTH_SPACE, "")


@given(st.lists(st.one_of(st.sampled_from(TAGS), st.text("<image>|", max_size=3)), max_size=8))
def test_a_special_token_split_over_parts_does_not_survive(texts: list[str]) -> None:
    parts = [TextPart(character) for text in texts for character in text]
    content = Prompter(RESERVED).turns([user(*parts)], images=0)[0]["content"]
    assert not any(tag in content for tag in TAGS)


@given(st.text(alphabet="abc <>|", max_size=30))
def test_other_text_stays_as_it_is(text: str) -> None:
    content = Prompter(RESERVED).turns([user(TextPart(text))], images=0)[0]["content"]
    assert content == text


@pytest.mark.parametrize(
    ("places", "images"), [([0], 0), ([1], 1), ([0, 0], 1), ([1, 0], 2), ([], 1), ([-1], 1)]
)
def test_pictures_that_do_not_match_are_refused(places: list[int], images: int) -> None:
    message = user(TextPart("?"), *(ImagePart(place) for place in places))
    with pytest.raises(InvalidRequest, match="Point at each picture once"):
        Prompter(RESERVED).turns([message], images)


def test_only_the_gateways_own_tags_count_as_pictures() -> None:
    content = Prompter(RESERVED).turns(
        [user(ImagePart(0), TextPart("<ov_genai_image_0>"))], images=1
    )[0]["content"]
    assert without_pictures(content) == f"\n<{ZERO_WIDTH_SPACE}ov_genai_image_0>"


def test_the_bundled_models_special_tokens_are_known() -> None:
    tokens = reserved_tokens(bundled_folder() / "openvino", bundled_folder())
    assert {"<image>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"} <= set(tokens)


def test_transformers_5_lists_special_tokens_with_the_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "</s>"}')
    added = '{"added_tokens": [{"id": 2, "content": "<image>", "special": true}], "model": {}}'
    (tmp_path / "tokenizer.json").write_text(added)
    assert reserved_tokens(tmp_path) == ("<image>",)


@pytest.mark.parametrize("told", ["{}", "[]", '{"added_tokens_decoder": [1]}', "{"])
def test_a_list_of_special_tokens_that_is_none_is_refused(tmp_path: Path, told: str) -> None:
    (tmp_path / "tokenizer_config.json").write_text(told)
    with pytest.raises(ConfigError, match=r"tokenizer_config\.json"):
        reserved_tokens(tmp_path)


def test_a_model_whose_special_tokens_are_unknown_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tokenizer_config\.json"):
        reserved_tokens(tmp_path)
