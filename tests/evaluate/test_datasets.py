"""Data sets of each format, whole and broken."""

from __future__ import annotations

import base64
import codecs
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from silkline.errors import ConfigError, EnvironmentFault
from silkline.evaluate import datasets
from silkline.evaluate.dataset_location import HELD_OUT, local_set, shipped_file
from silkline.evaluate.datasets import Dataset
from silkline.evaluate.item import ImageKind, Kind
from tests.pictures import data_url, encoded

ROW: dict[str, Any] = {"picture": "a.png", "prompt": "What is it?", "reference": "a mug"}


def load_dataset(path: Path, **options: Any) -> Dataset:
    return datasets.load_dataset(local_set(path), **options)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inside = tmp_path / "set"
    (inside / "more").mkdir(parents=True)
    (inside / "a.png").write_bytes(encoded(kind="PNG"))
    (inside / "more" / "b.png").write_bytes(encoded(kind="PNG", colour="blue"))
    (tmp_path / "outside.png").write_bytes(encoded(kind="PNG"))
    return inside


def jsonl(folder: Path, *rows: object) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_jsonl(folder: Path) -> None:
    inline = encoded()
    found = load_dataset(
        jsonl(
            folder,
            ROW | {"id": "first", "shop": "north", "price": 3, "rate": 0.5, "long": "x" * 101},
            ROW | {"picture": data_url(inline), "reference": ["mug", "cup"]},
            {"image": base64.b64encode(inline).decode(), "prompt": "?", "reference": 7},
            {"file_name": "more/b.png", "prompt": "?", "reference": "b"},
            ROW | {"picture": "https://a.example/b.jpg"},
        )
    )
    first, *others = found.items
    assert (first.id, first.fields) == ("first", {"shop": "north", "price": "3"})
    assert first.image.kind is ImageKind.FILE
    assert [one.image.kind for one in others] == [
        ImageKind.URL, ImageKind.BASE64, ImageKind.FILE, ImageKind.URL,
    ]  # fmt: skip
    assert others[0].references == ("mug", "cup")
    assert others[1].references == ("7",)
    assert found.kind is Kind.TEXT
    assert found.name == "rows"
    assert len({one.key for one in found.items}) == 5


def test_ids_and_keys_follow_from_what_is_asked(folder: Path) -> None:
    path = jsonl(folder, ROW)
    (before,) = load_dataset(path).items
    assert load_dataset(path).items == (before,)
    (asked_otherwise,) = load_dataset(path, prompt="Name it.").items
    assert asked_otherwise.key != before.key
    (folder / "a.png").write_bytes(encoded(kind="PNG", colour="green"))
    assert load_dataset(path).items[0].key != before.key


def test_duplicate_rows_are_one_question(folder: Path) -> None:
    path = jsonl(
        folder, ROW | {"shop": "north"}, ROW | {"shop": "south"}, ROW | {"picture": "more/b.png"}
    )
    found = load_dataset(path)
    first, second, other = found.items
    assert (first.key, first.id) == (second.key, second.id)
    assert [one.fields["shop"] for one in (first, second)] == ["north", "south"]
    assert other.key != first.key
    assert found.duplicates == 1
    assert load_dataset(jsonl(folder, *[ROW | {"id": "1"}] * 3)).duplicates == 2
    records = [ROW | {"reference": {"count": number}} for number in (1, 2, 1)]
    assert load_dataset(jsonl(folder, *records)).duplicates == 1
    chosen = [ROW | {"choices": ["red", "blue"], "reference": one} for one in ("blue", "B", 0)]
    assert load_dataset(jsonl(folder, *chosen)).duplicates == 1


def test_names_and_missing_values_are_the_same_in_each_format(folder: Path) -> None:
    row: dict[str, Any] = {
        "Image": "a.png",
        "Question": "?",
        "Answer": "m",
        "id": None,
        "choices": None,
    }
    (one,) = load_dataset(jsonl(folder, row)).items
    assert (one.prompt, one.references) == ("?", ("m",))
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = folder / "rows.parquet"
    row |= {"picture": None, "score": float("nan")}
    parquet.write_table(arrow.Table.from_pylist([row]), path)
    assert load_dataset(path).items == (one,)


def test_records_choices_and_nothing(folder: Path) -> None:
    (one,) = load_dataset(jsonl(folder, ROW | {"reference": {"count": 1, "label": None}})).items
    assert one.record == {"count": 1, "label": None}
    (one,) = load_dataset(
        jsonl(folder, ROW | {"choices": ["red", "blue"], "reference": "blue"})
    ).items
    assert one.choices == ("red", "blue")
    assert one.prompt.startswith("What is it?\nA. red\nB. blue\n")
    assert load_dataset(jsonl(folder, {"picture": "a.png", "prompt": "?"})).kind is Kind.NONE


def test_one_prompt_for_all_may_name_fields(folder: Path) -> None:
    path = jsonl(folder, ROW | {"category": "mug"})
    (one,) = load_dataset(path, prompt='Which colour has the {category}? {"a": 1}').items
    assert one.prompt == 'Which colour has the mug? {"a": 1}'
    with pytest.raises(ConfigError, match=r"line 1 has no field shop.* It has picture, .*category"):
        load_dataset(path, prompt="{shop}")


def test_columns_are_named_as_the_set_has_them(folder: Path) -> None:
    row = {
        "picture": "a.png",
        "question": "What is it? " * 20,
        "answers": [{"answer": "mug", "sure": "yes"}, {"answer": "cup", "sure": "no"}],
        "best": {"texts": ["tea cup"]},
    }
    path = jsonl(folder, row)
    (one,) = load_dataset(path, columns={"prompt": "question", "reference": "answers.answer"}).items
    assert (one.prompt, one.references) == (row["question"], ("mug", "cup"))
    (one,) = load_dataset(path, prompt="{question}", columns={"reference": "best.texts"}).items
    assert (one.prompt, one.references) == (row["question"], ("tea cup",))
    for column, message in (
        ("answer", "has no column answer; it has picture, question"),
        ("answers.score", "the column answers has no field score"),
        ("question.text", "the column question has no field text"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_dataset(path, columns={"prompt": "question", "reference": column})


def test_parquet_as_the_hub_has_it(folder: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    data = encoded()
    rows = [
        {"id": "1", "image": {"bytes": data, "path": None}, "prompt": "?", "reference": ["m", "n"]},
        {"id": "2", "image": {"bytes": None, "path": "a.png"}, "prompt": "?", "reference": ["m"]},
    ]
    path = folder / "rows.parquet"
    parquet.write_table(arrow.Table.from_pylist(rows), path)
    first, second = load_dataset(path).items
    assert base64.b64decode(first.image.text) == data
    assert second.image.kind is ImageKind.FILE
    assert first.references == ("m", "n")


@pytest.mark.parametrize("kind", ["empty", "text", "cut", "no picture", "no prompt", "number"])
def test_broken_parquet(folder: Path, kind: str) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = folder / "rows.parquet"
    row = {"picture": "a.png", "prompt": "?", "reference": "m"}
    if kind == "no picture":
        del row["picture"]
    if kind == "no prompt":
        del row["prompt"]
    rows = [row | {"picture": 3}] if kind == "number" else [row]
    parquet.write_table(arrow.Table.from_pylist(rows), path)
    whole = path.read_bytes()
    if kind in {"empty", "text", "cut"}:
        path.write_bytes({"empty": b"", "text": b"PAR1 no", "cut": whole[:-20]}[kind])
    with pytest.raises(ConfigError, match=r"rows\.parquet (row 1|is not valid Parquet)"):
        load_dataset(path)


def test_parquet_without_its_library_names_the_command(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    path = folder / "rows.parquet"
    path.write_bytes(b"PAR1")
    with pytest.raises(EnvironmentFault, match=r"pip install 'silkline\[evaluate\]'"):
        load_dataset(path)


def test_a_folder_of_pictures_with_references_beside_them(folder: Path) -> None:
    (folder / "a.txt").write_text("a mug\n")
    (folder / "more" / "b.txt").write_text("a cup")
    first, second = load_dataset(folder, prompt="What is it?").items
    assert (first.id, first.references, first.fields) == ("a.png", ("a mug",), {})
    assert (second.id, second.fields) == ("more/b.png", {"folder": "more"})


def test_a_folder_with_metadata(folder: Path) -> None:
    row = {"file_name": "a.png", "prompt": "?", "reference": "m"}
    (folder / "metadata.jsonl").write_text(json.dumps(row))
    assert load_dataset(folder).items[0].references == ("m",)
    (folder / "metadata.jsonl").unlink()
    (folder / "metadata.csv").write_text("file_name,prompt,reference\na.png,?,n\n")
    assert load_dataset(folder).items[0].references == ("n",)


def test_broken_folders(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a\.png has no readable reference.* in a\.txt"):
        load_dataset(folder, prompt="?")
    for content in (b"", b" \n", b"\xff\xfe", b"x" * 70_000):
        (folder / "a.txt").write_bytes(content)
        with pytest.raises(ConfigError, match=r"a\.png has"):
            load_dataset(folder, prompt="?")
    (folder / "a.txt").write_text("m")
    (folder / "more" / "b.txt").mkdir()
    with pytest.raises(ConfigError, match=r"more/b\.png has no readable reference"):
        load_dataset(folder, prompt="?")
    (folder / "more" / "b.txt").rmdir()
    (folder / "more" / "b.txt").write_text("n")
    with pytest.raises(ConfigError, match="has no prompt"):
        load_dataset(folder)
    (tmp_path / "none").mkdir()
    with pytest.raises(ConfigError, match="has no images"):
        load_dataset(tmp_path / "none")
    (folder / "metadata.csv").write_text("file_name,prompt\nc.png,?\n")
    with pytest.raises(
        ConfigError,
        match=r"metadata\.csv line 2: the image c\.png in column file_name is not a file",
    ):
        load_dataset(folder)


BROKEN_ROWS: list[tuple[object, str]] = [
    ([], "line 1 is not a JSON object"),
    ({"prompt": "?"}, "line 1 has no picture"),
    (ROW | {"picture": 3}, "line 1 has no picture"),
    (ROW | {"picture": "../outside.png"}, "is not a file inside the data set's folder"),
    (ROW | {"picture": "/etc/passwd"}, "is not a file inside the data set's folder"),
    (ROW | {"picture": "a\0.png"}, "the image given in column picture is not a file"),
    (ROW | {"picture": "x" * 5_000 + "!"}, "the image given in column picture is not a file"),
    (ROW | {"prompt": ""}, "has no prompt"),
    (ROW | {"prompt": ["?"]}, "prompt is a list or an object"),
    (ROW | {"prompt": "x" * 100_001}, "prompt has 100001 characters; at most 100000"),
    (ROW | {"prompt": "\ud800"}, "line 1 is not valid JSON"),
    (ROW | {"id": "\x1b[2J"}, "the id is not printable"),
    (ROW | {"id": "x" * 101}, "id has 101 characters"),
    (ROW | {"reference": []}, "has 0 references"),
    (ROW | {"reference": [None]}, "has 0 references"),
    (ROW | {"reference": [["m"]]}, "reference is a list or an object"),
    (ROW | {"Prompt": "!"}, "has the same column twice: prompt and Prompt"),
    (ROW | {"A": "red", "B": "blue", "D": "green"}, "has no choice C, but has a later one"),
    (ROW | {"choices": ["red", None, "blue"]}, "a choice is missing before the last one"),
    (ROW | {"reference": ["m"] * 101}, "has 101 references"),
    (ROW | {"reference": [{}]}, "reference is a list or an object"),
    (ROW | {"reference": True}, "reference is not text"),
    (ROW | {"reference": {}}, "the record has 0 fields"),
    (ROW | {"reference": {"a": [1]}}, "the field a of the record is a list or an object"),
    (ROW | {"reference": {"\n": 1}}, "a field name of the record is empty, not printable"),
    (ROW | {"choices": "red"}, "choices, in column choices, is not a list"),
    (ROW | {"choices": ["a mug"]}, "has 1 choices. Expected 2 to 26"),
    (ROW | {"choices": ["a mug", "a mug"]}, "Expected 2 to 26 different ones"),
    (ROW | {"choices": ["red", "blue"]}, "which is none of the 2 choices"),
    (
        ROW | {"choices": ["a", "b"], "reference": {"a": 1}},
        "has choices, but a record as its reference",
    ),
]


@pytest.mark.parametrize(("row", "message"), BROKEN_ROWS)
def test_broken_jsonl_rows(folder: Path, row: object, message: str) -> None:
    with pytest.raises(ConfigError, match=r"rows\.jsonl line 1") as caught:
        load_dataset(jsonl(folder, row))
    assert message in caught.value.message


def test_broken_jsonl_files(folder: Path) -> None:
    path = jsonl(folder, ROW, ROW)
    assert len(load_dataset(path, maximum=1).items) == 1
    jsonl(folder, ROW | {"id": "1"}, ROW, ROW | {"id": "1", "reference": "a cup"})
    with pytest.raises(ConfigError, match=r"line 3 has the same id as rows\.jsonl line 1, 1, but"):
        load_dataset(path)
    jsonl(folder, ROW, ROW | {"reference": {"a": 1}})
    with pytest.raises(ConfigError, match="has reference records, but earlier rows have"):
        load_dataset(path)
    for content in (b"", b"\n\n"):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match="is empty"):
            load_dataset(path)
    for content in (b"{", b"\xff", b"[" * 100_000, b"nan"):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match="line 1 is not valid JSON"):
            load_dataset(path)
    (folder / "link.png").symlink_to("/etc/hostname")
    with pytest.raises(ConfigError, match="not a file inside"):
        load_dataset(jsonl(folder, ROW | {"picture": "link.png"}))
    other = folder / "rows.txt"
    other.write_text("x")
    with pytest.raises(ConfigError, match=r"ends in \.jsonl, \.csv, \.tsv, \.parquet, or a folder"):
        load_dataset(other)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"p\0i\0c\0\n\0", "line 1 is not text: it may be UTF-16 without a byte order mark"),
        (b"\xff\xfep\0\n\0\0", "is not valid UTF-16"),
        (b"", "is empty"),
        (b"picture,prompt,reference\n", "is empty"),
        (b"picture,prompt,prompt\n", "line 1 names the same column twice: prompt, prompt"),
        (b"picture;prompt;A;A\n", "separated by semicolons: picture, prompt, A, A"),
        (b"Picture,prompt,picture \n", "line 1 names the same column twice: Picture, picture"),
        (b"picture,prompt,,reference\na.png,?,m,n\n", "line 2 has a value in column 3, which has"),
        (b"picture,prompt,reference\na.png,?\n", "line 2 has no reference: its column reference"),
        (b"picture,prompt,reference\na.png,?,m,n\n", "line 2 has a value in column 4, which has"),
        (b'picture,prompt,reference\na.png,?,"m\n', "is not CSV"),
        (b'picture,prompt,reference\na.png,?,"m"n\n', "line 2 is not CSV"),
        (b"picture,prompt,reference\na.png,?,\xff\n", "line 2 is not UTF-8 (byte 0xFF); it may be"),
        (b"picture,prompt,reference\na.png,?," + b"x" * 200_000 + b"\n", "at most 100000"),
        (b"picture,prompt,reference\n,?,m\n", "line 2 has no picture"),
        (
            b"picture,prompt,choices\na.png,?,red\n",
            "line 2: choices, in column choices, is not a list",
        ),
    ],
)
def test_broken_csv(folder: Path, content: bytes, message: str) -> None:
    path = folder / "rows.csv"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_dataset(path)
    assert message in caught.value.message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
NAMES = st.sampled_from(["id", "picture", "prompt", "reference", "choices", "image", "other"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(row=st.dictionaries(NAMES, JSON))
def test_any_row_is_read_or_refused(folder: Path, row: dict[str, Any]) -> None:
    message = ""
    try:
        items = load_dataset(jsonl(folder, ROW | row)).items
    except ConfigError as error:
        items, message = (), error.message
    assert len(items) == 1 or message.startswith("rows.jsonl line 1")


def test_the_bundled_set_is_whole() -> None:
    found = load_dataset(shipped_file(HELD_OUT))
    assert len(found.items) == 64
    assert found.kind is Kind.RECORD
    assert sum(path.stat().st_size for path in shipped_file(HELD_OUT).parent.iterdir()) <= 600_000


def test_a_byte_order_mark_is_passed_over(folder: Path) -> None:
    path = folder / "rows.jsonl"
    path.write_bytes(codecs.BOM_UTF8 + json.dumps(ROW).encode() + b"\r\n")
    assert load_dataset(path).items[0].references == ("a mug",)
    path.write_bytes(json.dumps(ROW).encode() + b"\n" + codecs.BOM_UTF8 + b"{}")
    with pytest.raises(ConfigError, match="line 2 is not valid JSON"):
        load_dataset(path)


def test_times_that_python_cannot_hold_are_told(folder: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = folder / "rows.parquet"
    for when in (
        arrow.array([1_234_567_891], arrow.timestamp("ns")),
        arrow.array([10**9], arrow.date32()),
        arrow.array([2**62], arrow.duration("s")),
    ):
        columns = {name: [value] for name, value in ROW.items()}
        parquet.write_table(arrow.table(columns | {"when": when}), path)
        with pytest.raises(ConfigError, match="after row 0 has a value that cannot be read"):
            load_dataset(path)
