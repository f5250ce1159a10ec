"""A whole distillation, by the command."""

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file

from silkline.cli.main import silkline
from silkline.distil.training import Training
from silkline.engines.torch.loading import load_family

SMALL = ("--steps", "6", "--batch", "4", "--evaluate-every", "2", "--max-tokens", "4", "--json")


def run(teacher: Path, data: Path, out: Path, *more: str) -> Result:
    command = ["distill", str(teacher), "--data", str(data), "-o", str(out), *SMALL, *more]
    return CliRunner().invoke(silkline, command, catch_exceptions=False)


@pytest.fixture(scope="module")
def whole(
    teacher: Path, data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Result]:
    out = tmp_path_factory.mktemp("whole") / "student"
    return out, run(teacher, data, out)


def test_it_writes_a_student_that_is_served(whole: tuple[Path, Result]) -> None:
    out, result = whole
    assert result.exit_code == 0
    found = json.loads(result.output)
    assert found["questions"] + found["held_out"] == 24
    assert found["held_out"] == 2
    assert found["student"]["parameters"] < 0.6 * found["of"]["parameters"]
    assert [point["step"] for point in found["points"]] == [2, 4, 6]
    assert json.loads((out / "distilled.json").read_bytes()) == found
    assert load_family(out, dtype=torch.float32, device=torch.device("cpu")).config.text_config


def test_its_page_has_the_curves(whole: tuple[Path, Result]) -> None:
    text = (whole[0] / "report.html").read_text()
    assert text.count("<svg") == 2
    assert "Does it look?" in text


def test_a_killed_run_ends_as_one_that_ran_through(
    whole: tuple[Path, Result], teacher: Path, data: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    step = Training._step

    def dying(training: Training) -> None:
        if training.progress.step == 3:
            raise KeyboardInterrupt
        training._schedule = type(training._schedule)(6, 2, 5, checkpoint_seconds=0)
        step(training)

    out = tmp_path / "student"
    with monkeypatch.context() as patch:
        patch.setattr(Training, "_step", dying)
        assert run(teacher, data, out).exit_code != 0
    assert not out.exists()
    assert run(teacher, data, out).exit_code == 0
    first, second = (load_file(folder / "model.safetensors") for folder in (whole[0], out))
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_the_teacher_is_asked_once(
    teacher: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "student"
    paused = run(teacher, data, out, "--pause-after", "0")
    assert json.loads(paused.output) is None
    answers = sorted((tmp_path / "student.work").glob("answers-*/*.safetensors"))
    stamps = [path.stat().st_mtime_ns for path in answers]
    assert answers
    assert run(teacher, data, out).exit_code == 0
    assert [path.stat().st_mtime_ns for path in answers] == stamps


def test_other_settings_do_not_continue_a_run(teacher: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "student"
    run(teacher, data, out, "--pause-after", "0")
    result = CliRunner().invoke(
        silkline,
        ["distill", str(teacher), "--data", str(data), "-o", str(out), *SMALL, "--soft", "0.5"],
    )
    assert "another training" in str(result.exception)


def test_a_folder_that_exists_is_refused(teacher: Path, data: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        silkline, ["distill", str(teacher), "--data", str(data), "-o", str(tmp_path), *SMALL]
    )
    assert "exists already" in str(result.exception)
