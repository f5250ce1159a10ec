import json
from pathlib import Path
from typing import Any

import pytest

from silkline.errors import ConfigError
from silkline.evaluate.dataset_location import local_set
from silkline.evaluate.datasets import load_dataset
from silkline.evaluate.item import Item
from tests.pictures import data_url, encoded


def items(folder: Path, *rows: dict[str, Any]) -> tuple[Item, ...]:
    (folder / "a.png").write_bytes(encoded(kind="PNG"))
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_dataset(local_set(path)).items


def test_questions_about_one_image_are_one_group(tmp_path: Path) -> None:
    row = {"picture": "a.png", "prompt": "What?", "reference": "a mug"}
    url = {"picture": "https://a.example/b.jpg", "prompt": "What?", "reference": "a mug"}
    asked = items(tmp_path, row, row | {"prompt": "Where?"}, url)
    first, second, third = (item.group for item in asked)
    assert first == second != third
    assert "https" not in third
    inline = data_url((tmp_path / "a.png").read_bytes(), "image/png")
    copied, bare = items(
        tmp_path, row | {"picture": inline}, row | {"picture": inline.partition(",")[2]}
    )
    assert copied.group == bare.group == first
    own = items(tmp_path, row | {"group": 0}, url | {"group": 0}, url | {"id": "x"})
    assert [item.group for item in own] == ["0", "0", third]
    assert own[0].fields == {}
    with pytest.raises(ConfigError, match="the group is not printable"):
        items(tmp_path, row | {"group": "a\nb"})


def test_the_same_question_twice_is_in_one_group(tmp_path: Path) -> None:
    """Its rows have one answer, so they say no more than one of them."""
    row = {"picture": data_url(encoded()), "prompt": "What?", "reference": "a mug"}
    found = items(tmp_path, *(row | {"group": number} for number in range(3)))
    assert [item.group for item in found] == ["0", "0", "0"]
