"""`silkline batch` as its users run it, and killed on its way."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.batch.images import png, write_images
from tests.serving import command, served

FAKE = ("--model", "silkline-fake engine=fake")


def ran(*arguments: str, code: int = 0) -> dict[str, Any]:
    """Runs the command to its end; returns its figures."""
    done = subprocess.run(
        command("batch", *arguments, "--json"), capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout) if done.stdout else {"error": done.stderr}


def answers(out: Path) -> list[dict[str, Any]]:
    return [json.loads(one) for one in (out / "answers.jsonl").read_text().splitlines()]


def killed_runs(folder: Path, count: int, distinct: int, kills: int, seed: int) -> dict[str, Any]:
    """Kills a job at random moments, then lets it end; each image must have one answer."""
    write_images(folder / "in", count, distinct)
    (folder / "in" / "broken.png").write_bytes(b"no image")
    out, rng = folder / "out", random.Random(seed)
    arguments = (str(folder / "in"), str(out), *FAKE)
    for _ in range(kills):
        process = subprocess.Popen(
            command("batch", *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        while not (out / "journal.sqlite").exists() and process.poll() is None:
            time.sleep(0.02)
        time.sleep(rng.uniform(1.0, 3.0))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    figures = ran(*arguments, code=1)
    rows = answers(out)
    assert len(rows) == len({row["id"] for row in rows}) == count + 1
    assert [row["id"] for row in rows if row["error"]] == ["broken.png"]
    assert sum(row["duplicate_of"] is not None for row in rows) == count - distinct
    assert figures["answered"] == count
    assert (figures["items"], figures["failed"]) == (count + 1, 1)
    assert figures["errors"] == {"image_format": 1}
    assert (figures["asked"], figures["duplicates"]) == (distinct + 1, count - distinct)
    return figures


@pytest.mark.slow
def test_a_killed_job_continues(tmp_path: Path) -> None:
    figures = killed_runs(tmp_path, 300, 210, kills=1, seed=3)
    again = ran(str(tmp_path / "in"), str(tmp_path / "out"), *FAKE, code=1)
    assert again["known"] == 301
    assert again["answered"] == figures["answered"]
    other = ran(str(tmp_path / "in"), str(tmp_path / "out"), *FAKE, "--prompt", "Other?", code=2)
    assert "holds another job: its prompt" in other["error"]


@pytest.mark.slow
def test_a_running_server_answers_the_same_and_parquet_is_written(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    write_images(tmp_path / "in", 20, 15)
    with served("--engine", "fake", "--engine-options", "mode=echo") as running:
        figures = ran(
            str(tmp_path / "in"), str(tmp_path / "out"), "--url", running.url,
            "--format", "parquet", "--prompt", "Colour?",
        )  # fmt: skip
    rows = parquet.read_table(tmp_path / "out" / "answers.parquet").to_pylist()
    assert [row["answer"] for row in rows] == ["[8x8] Colour?"] * 20
    assert sum(row["duplicate_of"] is not None for row in rows) == figures["duplicates"] == 5
    page = (tmp_path / "out" / "report.html").read_text()
    assert "20 items" in page
    assert "100.0%" in page


@pytest.mark.full
@pytest.mark.timeout(1200)
def test_100_000_images_survive_10_kills(tmp_path: Path) -> None:
    figures = killed_runs(tmp_path, 100_000, 70_000, kills=10, seed=11)
    assert figures["known"] > 0


def test_the_same_image_gives_the_same_bytes() -> None:
    assert len({png(number) for number in range(1000)}) == 1000
