"""Which choice a reference means: by the row, and by the other rows of the set."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from silkline.errors import ConfigError
from silkline.evaluate.dataset_location import local_set
from silkline.evaluate.datasets import load_dataset
from tests.pictures import encoded

Rows = list[tuple[list[Any], Any]]
"""Choices and reference of each row."""


def write(folder: Path, rows: Rows, ending: str) -> Path:
    (folder / "a.png").write_bytes(encoded(kind="PNG"))
    path = folder / f"rows.{ending}"
    found = [
        {"image": "a.png", "question": f"{number}?", "choices": choices, "answer": answer}
        for number, (choices, answer) in enumerate(rows)
    ]
    if ending == "jsonl":
        path.write_text("\n".join(map(json.dumps, found)))
    elif ending == "parquet":
        arrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        numbers = {name: [row[name] for row in found] for name in found[0]}
        numbers["answer"] = arrow.array(numbers["answer"], arrow.int8())
        parquet.write_table(arrow.table(numbers), path)
    else:
        text = io.StringIO()
        writer = csv.DictWriter(text, found[0].keys())
        writer.writeheader()
        writer.writerows(found)
        path.write_text(text.getvalue())
    return path


def right(folder: Path, rows: Rows, ending: str) -> list[str]:
    items = load_dataset(local_set(write(folder, rows, ending))).items
    return [item.references[0] for item in items]


@pytest.mark.parametrize(
    ("rows", "expected", "endings"),
    [
        ([([3, 4, 5], 1)], ["4"], "jsonl parquet"),  # an integer is an index
        ([([2, 1, 0], 1), ([2, 1, 0], 0)], ["1", "2"], "jsonl parquet"),
        ([([2, 1, 0], 1.0)], ["1"], "jsonl"),
        ([(["red", "blue"], 1), ([0, 2, 1], 2)], ["blue", "1"], "jsonl csv"),
        ([(["red", "blue"], "1"), ([0, 2, 1], "2")], ["blue", "1"], "jsonl csv"),
        ([(["red", "blue"], 1.0), ([0, 2, 1], 2.0)], ["blue", "1"], "jsonl csv"),
        ([([1, 2, 4, 3], 3), ([10, 20, 30], 20)], ["3", "20"], "jsonl csv parquet"),  # texts
        ([([1, 2, 4, 3], "3")], ["3"], "jsonl"),  # a text is a text
        ([([1, 2, 4, 3], "D"), ([0, 1], "a")], ["3", "0"], "jsonl csv"),
        ([(["B", "A"], "A"), (["C", "D"], "D")], ["A", "D"], "jsonl csv"),
        ([(["B", "A"], "A"), (["red", "blue"], "A")], ["B", "red"], "jsonl csv"),
        ([(["red", "blue"], 1), (["red", "blue"], 0)], ["blue", "red"], "jsonl csv parquet"),
        ([([0, 1, 2, 3], 2)], ["2"], "jsonl csv parquet"),
        ([(["red", "blue"], "1")], ["blue"], "jsonl csv"),
        ([(["red", "blue"], "blue"), (["red", "blue"], "B")], ["blue"] * 2, "jsonl csv"),
        ([(["1", "0"], "1")], ["1"], "jsonl"),
        ([(["red", "blue"], ["blue"])], ["blue"], "jsonl csv"),
        ([(["red", "blue"], "(b)"), (["red", "blue"], "A.")], ["blue", "red"], "jsonl csv"),
    ],
)
def test_a_reference_means(rows: Rows, expected: list[str], endings: str, tmp_path: Path) -> None:
    for ending in endings.split():
        assert right(tmp_path, rows, ending) == expected, ending


BASE = "no row has 0: its indexes seem to start at 1. Expected indexes from 0"


@pytest.mark.parametrize(
    ("rows", "message", "endings"),
    [
        ([(["red", "blue"], 1), (["red", "blue"], 2)], BASE, "jsonl csv parquet"),
        ([([30, 10, 20], 1), ([30, 10, 20], 3)], BASE, "jsonl csv parquet"),
        (
            [(["red", "blue"], 0), (["red", "blue"], 2)],
            "which is none of the 2 choices",
            "jsonl csv",
        ),
        (
            [(["red", "blue"], -1)],
            "Expected the text of a choice, its letter or its index from 0",
            "jsonl csv",
        ),
        ([(["red", "blue"], True)], "reference is not text", "jsonl"),
        (
            [(["red", "blue"], "green")],
            "column answer is 'green', which is none of the 2 choices",
            "jsonl csv",
        ),
        ([(["red", "blue"], ["red", "blue"])], "has 2 references in column answer", "jsonl csv"),
        ([([2, 1, 0], 0)], "line 2: the column answer has '0', which is the text of one", "csv"),
        ([([2, 1, 0], 0)], "Write the letter of the choice instead", "csv"),
    ],
)
def test_what_is_unclear_is_refused(rows: Rows, message: str, endings: str, tmp_path: Path) -> None:
    for ending in endings.split():
        with pytest.raises(ConfigError) as caught:
            right(tmp_path, rows, ending)
        said = caught.value.message
        assert message in said or message.replace("line 2", "line 3") in said, ending
