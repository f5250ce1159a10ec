import json
from pathlib import Path

from tests.cli.test_main import run
from tests.pictures import encoded


def test_each_picture_gets_its_answer(tmp_path: Path) -> None:
    paths = []
    for colour in ("red", "blue"):
        path = tmp_path / f"{colour}.jpg"
        path.write_bytes(encoded(colour=colour))
        paths.append(str(path))
    result = run("describe", "--engine", "fake", "--json", *paths)
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["picture"] for line in lines] == paths
    assert len({line["answer"] for line in lines}) == 2
    assert all(line["timeline"]["generate"] >= 0 for line in lines)


def test_a_file_that_is_no_picture_fails(tmp_path: Path) -> None:
    path = tmp_path / "text.jpg"
    path.write_text("no picture")
    result = run("describe", "--engine", "fake", str(path))
    assert result.returncode == 1
    assert "not a picture" in result.stderr or "format" in result.stderr
