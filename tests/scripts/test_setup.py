"""`scripts/setup` on machines that lack things, with stand-ins for apt and Python on its path."""

import shutil
import subprocess
from pathlib import Path

import pytest

SETUP = Path(__file__).parents[2] / "scripts" / "setup"
NO_CHROMIUM_PACKAGE = 'case "$*" in *chromium*) exit 100;; esac'
PYTHON = """
case "$*" in
    *"import ensurepip"*) exit 1 ;;
    *"-m venv"*) for folder; do :; done; mkdir -p "$folder/bin"; cp "$0" "$folder/bin/python" ;;
esac
"""


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A folder that is all of the path; what its commands are called with is in `calls`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "mkdir", "cp"):
        (folder / name).symlink_to(shutil.which(name) or "")
    add(folder, "id", "echo 0")
    add(folder, "apt-get", NO_CHROMIUM_PACKAGE)
    add(folder, "python3.12", PYTHON)
    return folder


def add(folder: Path, name: str, does: str) -> None:
    command = folder / name
    command.write_text(f'#!/bin/sh\necho "{name} $*" >>"{folder.parent}/calls"\n{does}\n')
    command.chmod(0o755)


def setup(machine: Path, purpose: str) -> tuple[subprocess.CompletedProcess[str], str]:
    result = subprocess.run(
        ["sh", str(SETUP), "python3.12", "venv", purpose],
        cwd=machine.parent,
        env={"PATH": str(machine)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    calls = machine.parent / "calls"
    return result, calls.read_text() if calls.exists() else ""


def test_what_only_tests_need_does_not_stop_the_set_up(machine: Path) -> None:
    result, calls = setup(machine, "dev")
    assert result.returncode == 0, result.stderr
    assert "the tests of the web console fail" in result.stderr
    assert "several GB" in result.stderr
    assert "--no-install-recommends redis-server\n" in calls
    assert "--editable .[openvino,optimize,torch,redis,s3,pdf,evaluate,render,traces,dev]" in calls


def test_the_virtual_environment_of_the_python_that_was_asked_for_is_installed(
    machine: Path,
) -> None:
    _, calls = setup(machine, "serve")
    assert "--no-install-recommends python3.12-venv\n" in calls
    assert "chromium" not in calls


@pytest.mark.parametrize("name", ["chromium", "chromium-browser", "google-chrome"])
def test_any_browser_that_the_console_tests_take_will_do(machine: Path, name: str) -> None:
    add(machine, name, "")
    result, calls = setup(machine, "dev")
    assert result.returncode == 0
    assert "chromium" not in calls


def test_an_interrupted_virtual_environment_is_made_again(machine: Path) -> None:
    broken = machine.parent / "venv" / "bin"
    broken.mkdir(parents=True)
    (broken.parent / "pyvenv.cfg").touch()
    add(broken, "python", "exit 1")
    result, calls = setup(machine, "serve")
    assert result.returncode == 0, result.stderr
    assert "python3.12 -m venv --clear venv\n" in calls


def test_another_purpose_is_refused(machine: Path) -> None:
    result, calls = setup(machine, "nonsense")
    assert result.returncode == 2
    assert not calls
