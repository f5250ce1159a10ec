"""CSV and TSV files as spreadsheets, data frames and other tools write them."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from silkline.errors import ConfigError
from silkline.evaluate import tables
from silkline.evaluate.dataset_location import local_set
from silkline.evaluate.datasets import Dataset, load_dataset
from silkline.evaluate.item import Item, Kind
from silkline.evaluate.rows import MAX_LINE_BYTES
from tests.pictures import encoded

ROW = {"picture": "a.png", "prompt": "What, or who?", "reference": "a mug"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.png").write_bytes(encoded(kind="PNG"))
    (tmp_path / "b.png").write_bytes(encoded(kind="PNG", colour="blue"))
    return tmp_path


def read(folder: Path, content: str | bytes, name: str = "rows.csv", **options: Any) -> Dataset:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return load_dataset(local_set(path), **options)


def item(folder: Path, content: str | bytes, name: str = "rows.csv", **options: Any) -> Item:
    (only,) = read(folder, content, name, **options).items
    return only


def refused(folder: Path, content: str | bytes, **options: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        read(folder, content, **options)
    return caught.value.message


def jsonl(folder: Path, *rows: dict[str, Any]) -> tuple[Item, ...]:
    return read(folder, "\n".join(map(json.dumps, rows)), "same.jsonl").items


@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("header", [
    "picture,prompt,reference", '"picture","prompt","reference"', "Picture, Prompt ,REFERENCE",
    "Image,Question,Answer", "Image Path,prompt,answer", "file_name,question,reference",
    'picture,"prompt",reference,"a; b, c\td|e"',
])  # fmt: skip
def test_the_delimiter_is_found_and_names_may_be_spelled_otherwise(
    folder: Path, name: str, delimiter: str, header: str
) -> None:
    lines = io.StringIO()
    csv.writer(lines, delimiter=delimiter).writerow(ROW.values())
    names = next(csv.reader([header]))
    if len(names) > 3:
        names[3] = f'"{names[3]}"'
    found = item(folder, delimiter.join(names) + "\n" + lines.getvalue(), name)
    assert found.prompt == ROW["prompt"]
    assert found.references == ("a mug",)
    assert found.key == jsonl(folder, ROW)[0].key


def test_quoted_cells_hold_delimiters_quotes_and_line_breaks(folder: Path) -> None:
    first, second = read(
        folder,
        "\ufeffid,picture,prompt,reference,shop\r\n"
        'one,a.png,"What, if\nanything?",a mug,north\r\n'
        'two,a.png,?,"[""x"", ""y""]",\r\n',
    ).items
    assert (first.prompt, first.fields) == ("What, if\nanything?", {"shop": "north"})
    assert (second.references, second.fields) == (("x", "y"), {})
    assert item(folder, 'picture,prompt,reference\na.png,?,"{""count"": 2}"\n').record == {
        "count": 2
    }


@pytest.mark.parametrize("line", ["sep=;", '"sep=;"', "SEP=;", "sep=;\r"])
def test_the_first_line_of_excel_names_the_delimiter(folder: Path, line: str) -> None:
    text = f'{line}\npicture;prompt;reference\na.png;"?";"m"\n'
    assert item(folder, text).references == ("m",)
    assert item(folder, "\ufeff" + text).references == ("m",)
    assert item(folder, "sep=^\npicture^prompt^reference\na.png^?^m").references == ("m",)
    message = refused(folder, f"{line}\nBild;prompt\na.png;?\n")
    assert "rows.csv line 2 has no column for the picture" in message
    assert "separated by semicolons: Bild, prompt" in message


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r", "\n\n", "\t\t\r\n", "\n\t\t\t\n"])
def test_encodings_line_ends_blank_lines_and_trailing_delimiters(
    folder: Path, encoding: str, ending: str
) -> None:
    lines = ["image\tquestion\tanswer\tt\u00e4g", "a.png\t?\tm\u00fcg\tx", 'b.png\t"?\n"\tn\ty']
    first, second = read(folder, ending.join([*lines, ""]).encode(encoding)).items
    assert (first.references, first.fields) == (("m\u00fcg",), {"t\u00e4g": "x"})
    assert (second.prompt, second.references) == ("?\n", ("n",))


def test_another_encoding_is_named_with_what_to_do(folder: Path) -> None:
    message = refused(
        folder, "picture,prompt,reference\na.png,?,m\na.png,?,M\u00fcg\n".encode("cp1252")
    )
    assert "line 3 is not UTF-8 (byte 0xFC); it may be Windows-1252" in message
    assert "iconv -f WINDOWS-1252 -t UTF-8 rows.csv" in message


def test_columns_that_a_program_added_are_left_out(folder: Path) -> None:
    indexed = item(folder, ",picture,prompt,reference,shop\n0,a.png,?,m,north\n")
    assert indexed.fields == {"shop": "north"}
    unnamed = item(folder, "Unnamed: 0,picture,prompt,reference,Unnamed: 7\n0,a.png,?,m,x\n")
    assert unnamed.fields == {}
    trailing = item(folder, "picture;prompt;reference;;\na.png;?;m;;;;\n;;;;\n")
    assert trailing.references == ("m",)
    short = read(folder, "picture,prompt,reference,shop,town\na.png,?,m\nb.png,?,n,north\n")
    assert [one.fields for one in short.items] == [{}, {"shop": "north"}]
    assert item(folder, 'picture, prompt, reference\na.png, "?, !", m\n').prompt == "?, !"


@pytest.mark.parametrize("missing", ["", " ", "nan", "NaN", "<NA>", "NaT", "#N/A", '""'])
def test_missing_cells(folder: Path, missing: str) -> None:
    text = f"id,image,picture,prompt,reference,shop\n{missing},a.png,{missing},?,m,{missing}\n"
    found = item(folder, text)
    assert (found.image.text, found.fields) == (str(folder / "a.png"), {})
    assert len(found.id) == 12
    for column, name in ((0, "picture"), (1, "prompt"), (2, "reference")):
        cells = ["a.png", "?", "m"]
        cells[column] = missing
        message = refused(
            folder, "picture,prompt,reference\na.png,?,m\n" + ",".join(cells) + ",,\n"
        )
        assert message.startswith(f"rows.csv line 3 has no {name}: its column {name} is empty")


def test_an_error_about_a_column_names_those_that_are_there(folder: Path) -> None:
    message = refused(folder, "Bild;Frage, kurz;Antwort\na.png;?;m\n")
    assert message.startswith("rows.csv line 1 has no column for the picture")
    assert "separated by semicolons: Bild, Frage, kurz, Antwort." in message
    assert "--column picture=COLUMN" in message
    message = refused(folder, "Bild;Frage\na.png;?\n", columns={"picture": "Foto"})
    assert message.startswith(
        "rows.csv line 1 has no column Foto; it has Bild, Frage, separated by"
    )
    message = refused(folder, "a.png,What?,a mug\n")
    assert (
        "no row follows the header in rows.csv line 1, separated by commas: a.png, What?" in message
    )
    message = refused(folder, "picture\x01\x1b[2J," + "x" * 500 + ",prompt\na.png,1,?\n")
    assert message.isprintable()
    assert len(message) < 400
    found = item(folder, "Bild;Frage\na.png;?\n", columns={"picture": "bild", "prompt": "FRAGE"})
    assert found.prompt == "?"


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("[10, 20, 30, 40]", ("[10, 20, 30, 40]",)),
        ("[0.1 0.2]", ("[0.1 0.2]",)),
        ("[[1, 2], [3, 4]]", ("[[1, 2], [3, 4]]",)),
        ("(10, 20)", ("(10, 20)",)),
        ("[illegible]", ("[illegible]",)),
        ("(A)", ("(A)",)),
        ("['red', 'crimson']", ("red", "crimson")),
        ('["red", "crimson"]', ("red", "crimson")),
        ('["it\'s", \'a "mug"\']', ("it's", 'a "mug"')),
        (r"['caf\xe9', 'a\nb', 'c\\d']", ("caf\u00e9", "a\nb", "c\\d")),
        ("['red', nan, None]", ("red",)),
        ("['red' 'crimson']", ("red", "crimson")),
        ("['red'\n 'crimson']", ("red", "crimson")),
        ("['red' nan]", ("red",)),
        ("('red', 'crimson')", ("red", "crimson")),
        ("{'red', 'crimson'}", ("red", "crimson")),
        ("['3', 3.5, 'three']", ("3", "3.5", "three")),
        ("[np.str_('red'), np.str_('crimson')]", ("red", "crimson")),
        ('["[red]"]', ("[red]",)),
    ],
)
def test_lists_in_a_cell(folder: Path, cell: str, expected: tuple[str, ...]) -> None:
    text = io.StringIO()
    csv.writer(text).writerows([ROW.keys(), (ROW | {"reference": cell}).values()])
    assert item(folder, text.getvalue()).references == expected
    (typed,) = jsonl(folder, ROW | {"reference": cell})
    assert typed.references == (cell,)  # a text is a text where the file has lists


@pytest.mark.parametrize(
    "cell",
    ["['a', 'b'", "['a' 'b' ... 'z']", "['a' + 'b']", "[red, crimson]", "{'a': [}", "[b'a', b'c']"],
)
def test_lists_that_cannot_be_read_are_refused(folder: Path, cell: str) -> None:
    text = io.StringIO()
    csv.writer(text).writerows([ROW.keys(), (ROW | {"reference": cell}).values()])
    message = refused(folder, text.getvalue())
    assert message.startswith("rows.csv line 2: the column reference starts like a list")


def test_records_and_objects_in_a_cell(folder: Path) -> None:
    text = "picture,prompt,reference\na.png,?,\"{'count': 2, 'label': None, 'x': 'it''s'}\"\n"
    assert item(folder, text.replace("''", "")).record == {"count": 2, "label": None, "x": "its"}
    answers = "[{'answer': 'red', 'sure': 'yes'}, {'answer': 'crimson', 'sure': 'no'}]"
    text = f'picture,prompt,answers\na.png,?,"{answers}"\n'
    found = item(folder, text, columns={"reference": "answers.answer"})
    assert found.references == ("red", "crimson")
    text = "picture,prompt,answers\na.png,?,\"{'text': array(['red'], dtype=object), 'at': [1]}\"\n"
    assert item(folder, text, columns={"reference": "answers.text"}).references == ("red",)


def test_choices_in_a_cell_and_in_columns(folder: Path) -> None:
    listed = item(folder, "picture,prompt,choices,answer\na.png,?,\"['1', 2, nan]\",B\n")
    assert (listed.choices, listed.references) == (("1", "2"), ("2",))
    (typed,) = jsonl(folder, ROW | {"choices": "['red' 'blue']", "reference": "blue"})
    assert typed.choices == ("red", "blue")


def vlmevalkit(*rows: tuple[object, ...]) -> str:
    text = io.StringIO()
    names = ["index", "image", "question", "hint", "A", "B", "C", "D", "answer", "category"]
    csv.writer(text, delimiter="\t").writerows([names, *rows])
    return text.getvalue()


def test_the_sets_of_vlmevalkit(folder: Path) -> None:
    image = base64.b64encode(encoded(400, 300, kind="BMP")).decode()
    assert len(image) > 131_072
    before = csv.field_size_limit()
    first, second = read(folder, vlmevalkit(
        (0, image, "Which?", "Look.", "B", "A", "red", "", "A", "colour"),
        (1, image, "Which?", "", "yes", "no", "", "", "B", "truth"),
    ), "set.tsv").items  # fmt: skip
    assert first.image.text == image
    assert (first.choices, first.references) == (("B", "A", "red"), ("B",))  # by its letter
    assert first.prompt.startswith("Look.\nWhich?\nA. B\nB. A\nC. red\nAnswer with")
    assert (second.choices, second.references) == (("yes", "no"), ("no",))
    assert first.fields == {"index": "0", "category": "colour", "hint": "Look."}
    assert csv.field_size_limit() == before
    only = item(
        folder, vlmevalkit((0, image, "What?", "", "", "", "", "", "red", "colour")), "v.tsv"
    )
    assert (only.references, only.choices) == (("red",), ())


def test_rows_of_any_size_up_to_the_bound(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tables.MAX_CELL_CHARS == MAX_LINE_BYTES
    monkeypatch.setattr(tables, "MAX_CELL_CHARS", 300_000)
    large = base64.b64encode(bytes(200_000)).decode()
    assert item(folder, f"picture,prompt,reference\n{large},?,m\n").image.text == large
    message = refused(folder, f"picture,prompt,reference\n{large * 2},?,m\n")
    assert "line 2 is longer than 300000 characters" in message


WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r", exclude_categories=["Cs"]))
TEXTS = WORDS.filter(lambda text: text.strip() and text.strip()[0] not in "[({")
PLAIN = TEXTS.filter(lambda text: text.strip() not in {"NaN", "nan", "<NA>", "NaT", "#N/A"})
REFERENCES = PLAIN | st.lists(TEXTS, min_size=1, max_size=4)
ROWS = st.lists(
    st.fixed_dictionaries(
        {"picture": st.sampled_from(["a.png", "b.png"]), "prompt": PLAIN, "reference": REFERENCES}
    ),
    min_size=1,
    max_size=4,
)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None
)
@given(
    rows=ROWS,
    delimiter=st.sampled_from(",;\t|"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    ending=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    spelled=st.sampled_from([json.dumps, repr]),
    index=st.booleans(),
)
def test_a_table_is_read_as_the_same_rows_in_json(
    folder: Path, rows: list[dict[str, Any]], delimiter: str, quoting: Any, ending: str,
    encoding: str, spelled: Any, index: bool,
) -> None:  # fmt: skip
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator=ending)
    writer.writerow([*([""] if index else []), *ROW])
    for number, row in enumerate(rows):
        cells = [cell if isinstance(cell, str) else spelled(cell) for cell in map(row.get, ROW)]
        writer.writerow([*([number] if index else []), *cells])
    found = read(folder, text.getvalue().encode(encoding))
    assert found.items == jsonl(folder, *rows)
    assert found.kind is Kind.TEXT


def test_numbers_of_a_data_frame(folder: Path) -> None:
    """A column of integers with a gap becomes one of floats."""
    rows = "picture,prompt,choices,reference,size\n"
    rows += "".join(f"a.png,{n}?,\"['red', 'blue']\",{float(n)},{math.nan}\n" for n in range(2))
    first, second = read(folder, rows).items
    assert (first.references, second.references) == (("red",), ("blue",))
    assert first.fields == {}
