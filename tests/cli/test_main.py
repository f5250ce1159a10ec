import subprocess
from pathlib import Path

import pytest

from tests.serving import command


def run(*arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, cwd=folder, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("up", "--prot", "1"), 2, "No such option"),
        (("up", "--port", "many"), 2, "is not a valid integer"),
        (("up", "--port", "99999"), 2, "port in [server] is 99999"),
        (("up", "--engine", "opnvino"), 2, "Did you mean openvino?"),
        (("up", "--model", "/none"), 2, "There is no model /none"),
        (("up", "--engine", "fake", "--engine-options", "mode=sing"), 2, "options are wrong"),
        (("up", "--engine", "fake", "--engine-options", "mode"), 2, "name=value"),
        (("up", "--engine", "fake", "--engine-options", "start_fault=no GPU"), 4, "no GPU"),
        (("up", "--engine", "fake", "--host", "203.0.113.1"), 4, "cannot listen"),
        (("describe", "none.jpg"), 2, "none.jpg cannot be read"),
        (("nonsense",), 2, "No such command"),
    ],
)
def test_a_wrong_command_says_so_and_ends_with_its_code(
    arguments: tuple[str, ...], code: int, message: str
) -> None:
    result = run(*arguments)
    assert result.returncode == code, result.stderr
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_a_wrong_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "silkline.toml").write_text("[server]\nprt = 1\n")
    result = run("up", folder=tmp_path)
    assert result.returncode == 2
    assert "Did you mean port?" in result.stderr


def test_help_lists_every_setting_with_its_default() -> None:
    text = " ".join(run("up", "--help").stdout.split())
    assert "--max-image-pixels" in text
    assert "[default: 50000000]" in text


def test_version() -> None:
    assert run("--version").stdout.startswith("silkline, version ")
