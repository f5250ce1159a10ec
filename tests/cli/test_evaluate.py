import json
import os
import signal
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import msgspec
import pytest

from silkline import __version__
from silkline.evaluate.subject import Subject
from tests.cli.test_main import run
from tests.pictures import data_url, encoded
from tests.serving import command, served

FAKE = "silkline-mini engine=fake engine_options=answer_words=4"


def write_set(folder: Path, count: int, **more: object) -> Path:
    """A set of small pictures, each of another colour."""
    path = folder / "set.jsonl"
    lines = []
    for number in range(count):
        colour = f"#{number * 7919 % 0xFFFFFF:06x}"
        row = {"id": str(number), "picture": data_url(encoded(16, 16, colour)), "prompt": "What?"}
        lines.append(json.dumps(row | {"reference": "a mug", "half": number % 2} | more))
    path.write_text("\n".join(lines))
    return path


def lines_of(journal: Path) -> list[dict[str, Any]]:
    """The whole lines of a journal that hold an answer."""
    whole = journal.read_bytes().rpartition(b"\n")[0].splitlines() if journal.exists() else []
    return [line for text in whole if (line := json.loads(text))["kind"] == "answer"]


def asked(url: str) -> int:
    """Chat completions that the server has ended so far."""
    with urllib.request.urlopen(f"{url}/metrics") as response:
        text = response.read().decode()
    return sum(
        int(float(line.rpartition(" ")[2]))
        for line in text.splitlines()
        if line.startswith("silkline_requests_total{") and "/v1/chat/completions" in line
    )


@pytest.mark.slow
def test_a_model_against_itself_and_against_a_damaged_one(tmp_path: Path) -> None:
    data = str(write_set(tmp_path, 12))
    out = tmp_path / "out"
    common = ("--data", data, "--out", str(out), "--json")
    same = run("evaluate", FAKE, "--against", FAKE, *common)
    assert same.returncode == 0, same.stderr
    found = json.loads(same.stdout)
    assert found["comparison"]["agreement"] == 1.0
    assert [one["subject"]["take"] for one in found["results"]] == [0, 1]
    assert json.loads((out / "evaluation.json").read_text()) == found
    assert len(lines_of(out / "answers.jsonl")) == 24
    assert {line["pixels"] for line in lines_of(out / "answers.jsonl")} == {256}
    cut = run("evaluate", FAKE, "--against", f"{FAKE} max_tokens=1 max_pixels=16", *common)
    assert cut.returncode == 0, cut.stderr
    found = json.loads(cut.stdout)
    assert found["results"][1]["cut"] == 12
    assert found["comparison"]["agreement"] == 0.0
    assert len(lines_of(out / "answers.jsonl")) == 36  # A's were there
    assert {line["pixels"] for line in lines_of(out / "answers.jsonl")} == {256}
    other = run("evaluate", FAKE.replace("=4", "=5"), *common)
    assert other.returncode == 0, other.stderr
    assert len(lines_of(out / "answers.jsonl")) == 48  # another engine's options, other answers
    assert "silkline evaluate" in (out / "report.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("model", [FAKE, "silkline-mini engine=openvino"])
def test_the_most_likely_choice_is_a_letter_that_the_prompt_offers(
    model: str, tmp_path: Path
) -> None:
    data = write_set(tmp_path, 4, choices=["a mug", "a lamp", "a chair"])
    common = ("--data", str(data), "--metric", "choice_accuracy", "--out", str(tmp_path))
    result = run("evaluate", model, "--against", f"{model} choices=likely", *common)
    assert result.returncode == 0, result.stderr
    answers = lines_of(tmp_path / "answers.jsonl")
    likely = [line for line in answers if line["answer"] in {"A", "B", "C"}]
    assert (len(answers), len(likely)) == (8, 4)


@pytest.mark.slow
def test_an_engine_that_cannot_constrain_answers_is_refused_the_most_likely_choice(
    tmp_path: Path,
) -> None:
    data = write_set(tmp_path, 1, choices=["a mug", "a lamp"])
    with served("--engine", "fake") as server:
        subject = f"{server.url} without=choice choices=likely"
        result = run("evaluate", subject, "--data", str(data), "--out", str(tmp_path))
    assert result.returncode == 2
    assert "cannot constrain answers to choices" in result.stderr


@pytest.mark.slow
def test_a_set_with_columns_of_its_own(tmp_path: Path) -> None:
    row = {"image": data_url(encoded()), "question": "What?", "answers": [{"answer": "a mug"}]}
    data = tmp_path / "set.jsonl"
    data.write_text(json.dumps(row))
    asked = ("evaluate", FAKE, "--data", str(data), "--out", str(tmp_path), "--json")
    columns = ("--column", "prompt=question", "--column", "reference=answers.answer")
    result = run(*asked, *columns)
    assert result.returncode == 0, result.stderr
    assert "exact_match" in result.stdout
    wrong = run(*asked, "--column", "question=prompt")
    assert wrong.returncode == 2
    assert "FIELD is one of picture, id, prompt, reference, choices" in wrong.stderr


@pytest.mark.slow
def test_the_bundled_model_on_the_bundled_set(tmp_path: Path) -> None:
    result = run("evaluate", "silkline-mini", "--limit", "8", "--out", str(tmp_path))
    assert result.returncode == 0, result.stderr
    assert "held-out, 8 items" in result.stdout
    assert "field:category" in result.stdout
    records = json.loads((tmp_path / "evaluation.json").read_text())["results"][0]["scores"][0]
    assert records["metric"] == "record"
    assert records["mean"] >= 0.5


@pytest.mark.slow
def test_items_without_an_answer_are_told_and_end_with_1(tmp_path: Path) -> None:
    path = write_set(tmp_path, 2)
    row = {"id": "bad", "picture": "bad.jpg", "prompt": "?", "reference": "m"}
    path.write_text(path.read_text() + "\n" + json.dumps(row))
    (tmp_path / "bad.jpg").write_text("no picture")
    result = run("evaluate", FAKE, "--data", str(path), "--out", str(tmp_path / "out"))
    assert result.returncode == 1
    assert "1 of 3 items got no answer (image_format)" in result.stdout
    assert "The picture could not be read." in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.slow
def test_killed_in_the_middle_it_continues_and_asks_nothing_twice(tmp_path: Path) -> None:
    """Counts at the server, which answers 16 at a time, each within half a second or so."""
    data, journal = str(write_set(tmp_path, 64)), tmp_path / "out" / "answers.jsonl"
    options = "token_seconds=0.03,answer_words=10"
    with served("--engine", "fake", "--engine-options", options) as running:
        arguments = ("evaluate", running.url, "--data", data, "--out", str(tmp_path / "out"))
        process = subprocess.Popen(
            command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        limit = time.monotonic() + 60
        while len(lines_of(journal)) < 20 and time.monotonic() < limit:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        kept = len(lines_of(journal))
        assert 20 <= kept < 64
        with journal.open("ab") as file:
            file.write(b'{"kind":"answer","subj')  # a line that a power cut has torn
        time.sleep(1)  # what the killed one had asked ends
        before = asked(running.url)
        result = run(*arguments, "--json")
        assert result.returncode == 0, result.stderr
        assert asked(running.url) - before == 64 - kept
    lines = lines_of(journal)
    assert sorted(int(line["id"]) for line in lines) == list(range(64))
    assert json.loads(result.stdout)["results"][0]["answered"] == 64


@pytest.mark.slow
def test_ctrl_c_leaves_a_journal_to_continue_from(tmp_path: Path) -> None:
    data, journal = str(write_set(tmp_path, 40)), tmp_path / "out" / "answers.jsonl"
    subject = "silkline-mini engine=fake max_batch=4 engine_options=token_seconds=0.15"
    arguments = ("evaluate", subject, "--data", data, "--out", str(tmp_path / "out"))
    process = subprocess.Popen(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        # Who runs the tests in the background of a shell hands down that SIGINT is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )  # fmt: skip
    limit = time.monotonic() + 60
    while len(lines_of(journal)) < 5 and time.monotonic() < limit:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    try:
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 1
    assert "stopped; run the same command again to continue" in errors
    assert "Traceback" not in errors
    kept = lines_of(journal)
    assert 5 <= len(kept) < 40
    assert not any(line.get("error") for line in kept)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("silkline-mini", "--data", "/none"), 2, "There is no data set"),
        (("silkline-mini max_tokens=0",), 2, "max_tokens is 0; expected a whole number"),
        (("silkline-mini fast",), 2, "where name=value was expected"),
        (
            ("silkline-mini port=1",),
            2,
            "unknown name port. Expected one of: max_tokens, max_pixels, choices",
        ),
        (("http://127.0.0.1:1 nonsense=1",), 2, "nonsense"),
        (("silkline-mini", "--metric", "bleu"), 2, "The metric bleu is unknown"),
        (("no-such-model",), 2, "There is no model no-such-model"),
        pytest.param(
            ("http://127.0.0.1:9",),
            4,
            "http://127.0.0.1:9 did not list its models within 10 s",
            marks=pytest.mark.full,
        ),
        (("silkline-mini", "--limit", "0"), 2, "0 is not in the range"),
    ],
)
def test_a_wrong_command_says_so(
    arguments: tuple[str, ...], code: int, message: str, tmp_path: Path
) -> None:
    result = run("evaluate", *arguments, "--out", str(tmp_path / "out"))
    assert result.returncode == code, result.stderr
    assert message in " ".join(result.stderr.split())


def test_results_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "evaluation.json").mkdir(parents=True)
    result = run("evaluate", FAKE, "--data", str(write_set(tmp_path, 1)), "--out", str(out))
    assert result.returncode == 4
    assert "cannot be written into" in result.stderr
    assert "Traceback" not in result.stderr
    assert len(lines_of(out / "answers.jsonl")) == 1


@pytest.mark.slow
def test_answers_of_another_version_are_not_taken_for_new(tmp_path: Path) -> None:
    out = tmp_path / "out"
    common = ("--data", str(write_set(tmp_path, 2)), "--out", str(out), "--json")
    result = run("evaluate", FAKE, *common)
    subject = json.loads(result.stdout)["results"][0]["subject"]
    assert subject["versions"] == {"silkline": __version__}
    journal = out / "answers.jsonl"
    old = msgspec.convert(subject | {"versions": {"silkline": "0.0.1"}}, Subject)
    new = msgspec.convert(subject, Subject)
    journal.write_text(journal.read_text().replace(new.fingerprint, old.fingerprint))
    run("evaluate", FAKE, *common)
    assert len(lines_of(journal)) == 4


@pytest.mark.slow
def test_a_table_with_duplicate_rows(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded())
    data = tmp_path / "set.csv"
    rows = ["Picture;Prompt;Reference", *["a.jpg;What?;a mug"] * 3, "a.jpg;Who?;['a', 'b']"]
    data.write_text("\n".join(rows))
    out = tmp_path / "out"
    arguments = ("evaluate", FAKE, "--against", FAKE, "--data", str(data), "--out", str(out))
    for _ in range(2):  # the second run asks nothing
        result = run(*arguments)
        assert result.returncode == 0, result.stderr
        assert "2 of 4 items are duplicates of earlier rows" in " ".join(result.stdout.split())
        assert "4 of 4" in result.stdout
        assert len(lines_of(out / "answers.jsonl")) == 4
    assert json.loads((out / "evaluation.json").read_text())["duplicates"] == 2
    assert "2 of 4 items are duplicates" in (out / "report.html").read_text()


def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    data = tmp_path / "set.csv"
    data.write_text("Bild;Frage;Antwort\na.jpg;Was?;ein Becher\n")
    result = run("evaluate", FAKE, "--data", str(data), "--out", str(tmp_path / "out"))
    assert result.returncode == 2
    said = " ".join(result.stderr.split())
    assert "set.csv line 1 has no column for the picture" in said
    assert "separated by semicolons: Bild, Frage, Antwort" in said
