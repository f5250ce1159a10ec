import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from silkline.bench.record import read_run
from tests.cli.test_main import run
from tests.serving import Served, command, served

QUICK = ("--rate", "30", "--for", "2s", "--catalogue", "20", "--pixels", "128")


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served("--engine", "fake") as running:
        yield running


@pytest.mark.slow
def test_load_on_a_real_gateway_leaves_table_page_and_records(
    server: Served, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = run("bench", server.url, *QUICK, "--warm", "3", "--out", str(out))
    assert result.returncode == 0, result.stderr
    for words in ("goodput", "cache hit", "stage decode", "generator A", "warmed A with 3"):
        assert words in result.stdout
    assert str(out / "report.html") in result.stdout
    assert (out / "report.html").read_text().startswith("<!doctype html>")
    records = read_run(out / "requests.jsonl").records
    assert len(records) > 30
    assert all(record.ok for record in records)
    assert {record.cache for record in records} >= {"hit", "miss"}
    assert all(record.completion_tokens for record in records)


@pytest.mark.slow
def test_json_has_the_figures(server: Served, tmp_path: Path) -> None:
    result = run(
        *("bench", server.url, "--against", server.url, *QUICK, "--slice", "1s", "--stream"),
        *("--json", "--out", str(tmp_path)),
    )
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert told == json.loads((tmp_path / "summary.json").read_text())
    first, second = told["targets"]
    assert first["requests"] == second["requests"] == first["served"]
    assert first["goodput"] == 1
    assert first["first_token"]["count"] == first["served"]
    assert told["comparison"]["pairs"] == 2
    assert second["by_cache"].keys() == {"hit"}  # the same server has seen them all


@pytest.mark.slow
def test_uploads_reach_predict(server: Served, tmp_path: Path) -> None:
    result = run("bench", server.url, *QUICK, "--as", "upload", "--json", "--out", str(tmp_path))
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["targets"][0]["goodput"] == 1


@pytest.mark.slow
def test_goodput_below_the_gate_is_exit_code_1(server: Served, tmp_path: Path) -> None:
    gate = ("--slo", "1ms", "--min-goodput", "99.9%", "--out", str(tmp_path))
    result = run("bench", server.url, *QUICK, "--new", "50%", *gate)
    assert result.returncode == 1
    assert "is below 99.90%" in result.stderr
    assert (tmp_path / "report.html").exists()


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/v1", "/v1/", "/", "/v1/chat/completions"])
def test_the_base_url_of_other_clients_is_taken(server: Served, tmp_path: Path, path: str) -> None:
    quick = ("--rate", "10", "--for", "1s", "--catalogue", "2", "--pixels", "128", "--json")
    result = run(
        *("bench", server.url + path, "--against", server.url + path, "--slice", "1s"),
        *(*quick, "--out", str(tmp_path)),
    )
    assert result.returncode == 0, result.stderr
    for target in json.loads(result.stdout)["targets"]:
        assert target["url"] == server.url
        assert target["served"] == target["requests"] > 0


@pytest.mark.slow
def test_a_target_that_answers_nothing_is_exit_code_1(server: Served, tmp_path: Path) -> None:
    result = run("bench", server.url, *QUICK, "--model", "NOPE", "--out", str(tmp_path))
    assert result.returncode == 1
    assert "silkline: A answered none of " in result.stderr
    assert "ended with status 404, model_not_found. Check the URL, --model" in result.stderr
    assert (tmp_path / "report.html").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("http://me:secret@127.0.0.1",), 2, "no user, password"),
        (("http://127.0.0.1:x",), 2, "is not a valid target"),
        (("http://192.0.2.1:8000",), 2, "--yes-load-remote"),
        (("ftp://127.0.0.1",), 2, "is not a valid target"),
        (("http://127.0.0.1:9",), 4, "does not answer"),
        (("http://127.0.0.1:9", "--burst", "3x"), 2, "3x20s@60s"),
        (("http://127.0.0.1:9", "--for", "20"), 2, "420ms"),
        (("http://127.0.0.1:9", "--key-env", "NO_SUCH_KEY"), 2, "NO_SUCH_KEY"),
        (("http://127.0.0.1:9", "--rate", "0"), 2, "--rate"),
    ],
)
def test_what_cannot_be_done_is_told(
    arguments: tuple[str, ...], code: int, words: str, tmp_path: Path
) -> None:
    result = run("bench", *arguments, "--out", str(tmp_path / "none"))
    assert result.returncode == code, result.stderr
    assert words in result.stderr
    assert not (tmp_path / "none").exists()


def test_a_folder_that_cannot_be_is_told_before_any_load(server: Served, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = run("bench", server.url, "--for", "10m", "--out", str(tmp_path / "file" / "out"))
    assert result.returncode == 4
    assert "cannot be written into" in result.stderr


@pytest.mark.slow
def test_an_interrupt_says_what_is_kept(server: Served, tmp_path: Path) -> None:
    before = len(server.log)
    running = subprocess.Popen(
        command("bench", server.url, "--for", "10m", "--out", str(tmp_path / "out")),
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,  # noqa: PLW1509
    )
    while len(server.log) < before + 3 and running.poll() is None:  # until it sends its load
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=30)
    assert running.returncode == 1
    assert said == "silkline: stopped; no results were saved\n"
