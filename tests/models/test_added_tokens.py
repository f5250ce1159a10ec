"""Which tokens a client must not write, by the files of a tokenizer."""

import json
from pathlib import Path
from typing import Any

import pytest

from silkline.errors import ConfigError
from silkline.models.added_tokens import image_token, read_added_tokens
from silkline.models.documents import Document
from silkline.models.resolve import bundled_folder

PLACE = {"content": "<loc0001>", "special": False}
PICTURE = {"content": "<image>", "special": False}
END = {"content": "</s>", "special": True}


def save(folder: Path, name: str, listed: dict[str, Any]) -> None:
    (folder / name).write_text(json.dumps(listed))


def test_the_bundled_models_special_tokens_are_known() -> None:
    reserved = read_added_tokens(bundled_folder() / "openvino", bundled_folder()).reserved(
        None, None
    )
    assert {"<image>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"} <= reserved


def test_transformers_4_and_5_list_them_in_files_of_their_own(tmp_path: Path) -> None:
    (four := tmp_path / "4").mkdir()
    save(four, "tokenizer_config.json", {"added_tokens_decoder": {"2": END, "7": PLACE}})
    (five := tmp_path / "5").mkdir()
    save(five, "tokenizer_config.json", {"eos_token": "</s>"})
    save(five, "tokenizer.json", {"added_tokens": [{"id": 2, **END}, {"id": 7, **PLACE}]})
    added = read_added_tokens(five)
    assert added == read_added_tokens(four)
    assert (added.text(2), added.text(7), added.text(3), added.text(None)) == (
        "</s>",
        "<loc0001>",
        None,
        None,
    )


def test_words_are_not_reserved_but_the_image_token_is(tmp_path: Path) -> None:
    decoder = {"2": END, "7": PLACE, "8": PICTURE, "9": {"content": "<unsaid>"}}
    save(tmp_path, "tokenizer_config.json", {"added_tokens_decoder": decoder})
    added = read_added_tokens(tmp_path)
    assert added.reserved(None, None) == {"</s>", "<unsaid>"}
    assert added.reserved(8, None) == {"</s>", "<unsaid>", "<image>"}


def test_what_the_chat_template_marks_turns_with_is_reserved(tmp_path: Path) -> None:
    user = {"content": "<|User|>", "special": False}
    decoder = {"2": END, "7": PLACE, "8": user}
    save(tmp_path, "tokenizer_config.json", {"added_tokens_decoder": decoder})
    template = "{% for turn in messages %}<|User|>{{ turn.content }}{% endfor %}"
    assert read_added_tokens(tmp_path).reserved(None, template) == {"</s>", "<|User|>"}


def test_what_either_file_calls_special_is_special(tmp_path: Path) -> None:
    word = {**END, "special": False}
    save(tmp_path, "tokenizer_config.json", {"added_tokens_decoder": {"2": word}})
    save(tmp_path, "tokenizer.json", {"added_tokens": [{"id": 2, **END}]})
    assert read_added_tokens(tmp_path).reserved(None, None) == {"</s>"}


def test_the_first_folder_that_lists_any_counts(tmp_path: Path) -> None:
    for name, token in (("empty", None), ("first", END), ("last", PICTURE)):
        (tmp_path / name).mkdir()
        if token:
            save(tmp_path / name, "tokenizer.json", {"added_tokens": [{"id": 2, **token}]})
    folders = (tmp_path / name for name in ("empty", "first", "last"))
    assert read_added_tokens(*folders).text(2) == "</s>"


@pytest.mark.parametrize(
    "told",
    ["{}", "[]", '{"added_tokens_decoder": [1]}', '{"added_tokens_decoder": {"a": {}}}', "{"],
)
def test_a_list_of_special_tokens_that_is_none_is_refused(tmp_path: Path, told: str) -> None:
    (tmp_path / "tokenizer_config.json").write_text(told)
    with pytest.raises(ConfigError, match=r"tokenizer_config\.json"):
        read_added_tokens(tmp_path)


def test_a_model_whose_special_tokens_are_unknown_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tokenizer_config\.json"):
        read_added_tokens(tmp_path)


def test_the_image_token_has_two_names() -> None:
    assert image_token(Document("config.json", {"image_token_index": 0})) == 0
    assert image_token(Document("config.json", {"image_token_id": 5})) == 5
    assert image_token(Document("config.json", {})) is None
    with pytest.raises(ConfigError, match="image_token_id"):
        image_token(Document("config.json", {"image_token_id": -1}))
