"""Where a model's chat template is found."""

import json
from pathlib import Path
from typing import Any

import pytest

from silkline.models.chat_template import read_chat_template


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("chat_template.json", {"chat_template": "A"}),
        ("processor_config.json", {"chat_template": "A"}),
        ("tokenizer_config.json", {"chat_template": "A"}),
        (
            "tokenizer_config.json",
            {"chat_template": [{"name": "tool", "template": "B"},
                               {"name": "default", "template": "A"}]},
        ),
    ],
)  # fmt: skip
def test_a_template_is_found_where_transformers_finds_it(
    tmp_path: Path, name: str, content: dict[str, Any]
) -> None:
    assert read_chat_template(tmp_path) is None
    (tmp_path / name).write_text(json.dumps(content))
    assert read_chat_template(tmp_path) == "A"
    (tmp_path / "chat_template.jinja").write_text("C")
    assert read_chat_template(tmp_path) == "C"


def test_the_first_folder_that_has_one_counts(tmp_path: Path) -> None:
    for name, template in (("empty", ""), ("first", "A"), ("last", "B")):
        (tmp_path / name).mkdir()
        if template:
            (tmp_path / name / "chat_template.jinja").write_text(template)
    folders = [tmp_path / name for name in ("empty", "first", "last")]
    assert read_chat_template(*folders) == "A"


@pytest.mark.parametrize("content", [{"chat_template": ["A", 1]}, {"chat_template": 7}, {}])
def test_what_is_no_template_is_none(tmp_path: Path, content: dict[str, Any]) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(content))
    assert read_chat_template(tmp_path) is None
