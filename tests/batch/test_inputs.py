"""The inputs of `silkline batch`: what they hold, in which order, and what fails alone."""

from __future__ import annotations

import base64
import json
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from silkline.batch.inputs import Asking, open_input
from silkline.errors import ConfigError, SilklineError
from tests.batch.images import png, write_images

ASKING = Asking("What?", {}, 1_000_000)


def read(text: Path | str, asking: Asking = ASKING) -> list[tuple[str, str]]:
    """The items as id and question; in place of a question, what is wrong."""
    found = open_input(str(text), asking)
    items: list[tuple[str, str]] = []
    for entry in found.entries():
        try:
            items.append((entry.id, entry.read().question.hex()))
        except SilklineError as error:
            items.append((entry.id, error.message))
    assert found.total == len(items)
    return items


def test_a_folder_in_the_order_of_names(tmp_path: Path) -> None:
    write_images(tmp_path, 5, 3)
    (tmp_path / "notes.txt").write_text("no image")
    ids, questions = zip(*read(tmp_path), strict=True)
    assert ids == tuple(f"0000/{number:07}.png" for number in range(5))
    assert questions[0] == questions[3] != questions[1] == questions[4]


def test_an_archive_has_the_same_questions_as_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    write_images(folder, 5, 3)
    (folder / "0000" / "0000000.json").write_text("{}")
    for name, mode in (("a.tar", "w"), ("a.tar.gz", "w:gz")):
        with tarfile.open(tmp_path / name, mode) as archive:  # type: ignore[call-overload]
            archive.add(folder / "0000", "0000")
        assert sorted(read(tmp_path / name)) == read(folder)


def test_a_cut_archive_says_so(tmp_path: Path) -> None:
    file = BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for number in range(2):
            member = tarfile.TarInfo(f"{number}.png")
            member.size = 5000
            archive.addfile(member, BytesIO(bytes(5000)))
    path = tmp_path / "cut.tar"
    path.write_bytes(file.getvalue()[:6000])
    with pytest.raises(ConfigError, match="tar archive"):
        read(path)


def test_tables_have_the_same_questions(tmp_path: Path) -> None:
    write_images(tmp_path, 3, 3)
    rows = [{"id": f"p{n}", "image": f"0000/{n:07}.png", "colour": "red"} for n in range(3)]
    jsonl = tmp_path / "in.jsonl"
    jsonl.write_text("\n".join(map(json.dumps, rows)))
    csv = tmp_path / "in.csv"
    csv.write_text("id,image,colour\n" + "\n".join(",".join(one.values()) for one in rows))
    asking = Asking("Is it {colour}?", {}, 1_000_000)
    assert [name for name, _ in read(jsonl, asking)] == ["p0", "p1", "p2"]
    assert read(csv, asking) == read(jsonl, asking)
    assert {one for _, one in read(csv)}.isdisjoint(one for _, one in read(csv, asking))


def test_parquet_with_images_inside(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet  # noqa: PLC0415 - an extra

    rows = [{"id": str(n), "image": {"bytes": png(n), "path": None}} for n in (1, 2, 1)]
    parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "in.parquet")
    items = read(tmp_path / "in.parquet")
    assert [name for name, _ in items] == ["1", "2", "1"]
    assert items[0] == items[2] != items[1]


def test_a_wrong_row_fails_alone(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    good = json.dumps({"id": "good", "image": base64.b64encode(png(1)).decode()})
    path.write_text(
        f'{good}\n{{broken\n[1]\n{{"id": "none"}}\n{{"id": "gone", "image": "x.png"}}\n'
    )
    items = read(path)
    assert len({found for _, found in items}) == 5
    assert [name for name, _ in items] == ["good", "row 2", "row 3", "none", "gone"]
    assert "line 2 is not valid JSON" in items[1][1]


def test_an_object_store(tmp_path: Path) -> None:
    pytest.importorskip("obstore")
    write_images(tmp_path / "in", 4, 3)
    assert read(f"file://{tmp_path}/in") == read(tmp_path / "in")


@pytest.mark.parametrize("name", ["gone", "empty", "in.xlsx", "broken.tar", "broken.parquet"])
def test_what_is_no_input_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    for file in ("in.xlsx", "broken.tar", "broken.parquet"):
        (tmp_path / file).write_bytes(b"x" * 100)
    with pytest.raises(ConfigError, match=name):
        read(tmp_path / name)
