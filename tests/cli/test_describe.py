import json
import os
import pty
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.test_main import run
from tests.pictures import encoded
from tests.serving import command


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    paths = []
    for colour in ("red", "blue", "green"):
        path = tmp_path / f"{colour}.jpg"
        path.write_bytes(encoded(colour=colour))
        paths.append(str(path))
    return paths


@pytest.mark.slow
def test_each_picture_gets_its_answer(pictures: list[str]) -> None:
    result = run("describe", "--engine", "fake", "--json", *pictures)
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["picture"] for line in lines] == pictures
    assert len({line["response"] for line in lines}) == 3
    for line in lines:
        assert line["timeline"]["generate"] >= 0
        assert line["usage"]["completion_tokens"] > 0
        assert line["model"].startswith("silkline-fake@")
        assert line["finish_reason"] == "stop"


def test_text_is_one_answer_a_line_with_its_picture(pictures: list[str]) -> None:
    result = run("describe", "--engine", "fake", *pictures[:1])
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"{pictures[0]}: ")


@pytest.mark.slow
def test_one_bad_picture_is_named_and_the_others_are_answered(
    pictures: list[str], tmp_path: Path
) -> None:
    bad = tmp_path / "text.jpg"
    bad.write_text("no picture")
    asked = [pictures[0], str(bad), pictures[1]]
    result = run("describe", "--engine", "fake", "--json", *asked)
    assert result.returncode == 1
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["picture"] for line in lines] == asked
    assert lines[1].keys() == {"picture", "error"}
    assert lines[1]["error"]["code"] == "image_format"
    assert lines[0]["response"]
    assert lines[2]["response"]
    result = run("describe", "--engine", "fake", *asked)
    assert result.returncode == 1
    assert len(result.stdout.splitlines()) == 2
    assert f"silkline: {bad}: " in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("picture", "code"),
    [
        ("/dev/zero", "image_too_large"),
        ("/nowhere.jpg", "invalid_request"),
        ("ftp://a.example/b.jpg", "url_blocked"),
    ],
)
def test_what_cannot_be_a_picture_is_told(picture: str, code: str) -> None:
    result = run("describe", "--engine", "fake", "--json", picture)
    assert result.returncode == 1
    assert json.loads(result.stdout)["error"]["code"] == code


@pytest.mark.slow
def test_pictures_are_asked_together_and_printed_in_order(pictures: list[str]) -> None:
    """Three answers of 2 s each, and those again; one after the other they would take their sum."""
    options = "answer_words=40,token_seconds=0.05"
    began = time.monotonic()
    result = run(
        *("describe", "--engine", "fake", "--engine-options", options, "--json"), *pictures * 2
    )
    took = time.monotonic() - began
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["picture"] for line in lines] == pictures * 2
    assert took < sum(line["timeline"].get("generate", 0) for line in lines)


@pytest.mark.slow
def test_answers_reach_their_file_while_progress_is_on_a_terminal(
    pictures: list[str], tmp_path: Path
) -> None:
    controller, terminal = pty.openpty()
    out = tmp_path / "out.jsonl"
    with out.open("w") as file:
        process = subprocess.Popen(
            command("describe", "--engine", "fake", "--json", *pictures * 2),
            stdout=file,
            stderr=terminal,
            env=os.environ | {"TERM": "xterm", "COLUMNS": "80"},
        )
        os.close(terminal)
        shown = b""
        while chunk := _read(controller):
            shown += chunk
        os.close(controller)
        assert process.wait(timeout=60) == 0
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["picture"] for line in lines] == pictures * 2
    assert b"of 6 images" in shown
    assert b"/s" in shown


def _read(controller: int) -> bytes:
    try:
        return os.read(controller, 65536)
    except OSError:  # EIO: the process has closed the terminal
        return b""


@pytest.mark.slow
def test_no_name_of_a_file_is_obeyed_by_the_terminal(pictures: list[str], tmp_path: Path) -> None:
    there = tmp_path / "a\x1b]0;owned\x07\udcff.jpg"
    there.write_bytes(Path(pictures[0]).read_bytes())
    result = run("describe", "--engine", "fake", str(there), f"{there}.absent")
    assert result.returncode == 1
    assert "\\x1b]0;owned\\x07\\udcff.jpg: " in result.stdout
    assert "\\x1b]0;owned\\x07\\udcff.jpg.absent: The picture" in result.stderr
    assert "\x1b" not in result.stdout + result.stderr
    result = run("describe", "--engine", "fake", "--json", str(there))
    assert json.loads(result.stdout)["response"]
