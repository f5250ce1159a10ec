import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import silkline
from tests.serving import command, served

ANYWHERE = ("up", "--engine", "fake", "--allow-anyone", "true")


def run(
    *arguments: str, folder: Path | None = None, path: Path | None = None
) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ) if path is None else os.environ | {"PYTHONPATH": str(path)}
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
        timeout=60,
        check=False,
    )


def broken_pillow(folder: Path) -> Path:
    package = folder / "PIL"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError\n")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("up", "--prot", "1"), 2, "No such option"),
        (("up", "--port", "many"), 2, "is not a valid integer"),
        (("up", "--port", "99999"), 2, "port in [server] is 99999"),
        (("up", "--engine", "opnvino", "--port", "0"), 2, "Did you mean openvino?"),
        (("up", "--model", "/none"), 2, "There is no file or folder /none"),
        (
            ("up", "--engine", "fake", "--port", "0", "--engine-options", "mode=sing"),
            2,
            "options are wrong",
        ),
        (("up", "--engine", "fake", "--engine-options", "mode"), 2, "name=value"),
        (
            ("up", "--engine", "fake", "--port", "0", "--engine-options", "start_fault=no GPU"),
            4,
            "no GPU",
        ),
        ((*ANYWHERE, "--host", "203.0.113.1"), 4, "cannot listen"),
        ((*ANYWHERE, "--host", "none.invalid"), 4, "cannot be resolved"),
        (("up", "--engine", "fake", "--host", "0.0.0.0"), 2, "Set keys_file"),
        (("up", "--engine", "fake", "--host", ""), 2, "Set keys_file"),
        (("describe", "--engine", "fake", "none.jpg"), 1, "none.jpg: The picture cannot be read"),
        (("describe", "--max-tokens", "0", "none.jpg"), 2, "0 is not in the range"),
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


@pytest.mark.slow
@pytest.mark.parametrize("model", ["/none", "silkline-mini"])
def test_the_fake_engine_is_given_no_model(model: str) -> None:
    with served("--engine", "fake", "--model", model) as server:
        assert server.host_and_port[0] == "127.0.0.1"


def test_a_taken_port_is_told_with_a_remedy() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        result = run("up", "--engine", "fake", "--port", str(port))
    assert result.returncode == 4
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use." in result.stderr
    assert "uvicorn" not in result.stderr, "it is told once"
    assert f"Run: silkline up --port {port + 1 if port < 65535 else 0}" in result.stderr


@pytest.mark.slow
def test_a_decoder_that_does_not_start_is_no_matter_of_ports(tmp_path: Path) -> None:
    """A decoding child imports Pillow; this one finds a broken one in its stead."""
    result = run("up", "--engine", "fake", "--port", "0", path=broken_pillow(tmp_path))
    assert result.returncode == 4, result.stderr
    assert "The process that decodes images does not start. Run: silkline doctor" in result.stderr
    assert "--port" not in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_any_address_is_announced_as_one_that_can_be_opened() -> None:
    with served(*ANYWHERE[1:], "--host", "0.0.0.0") as server:
        assert server.host_and_port[0] == "127.0.0.1"


def test_the_package_is_a_command_and_its_import_reads_nothing() -> None:
    code = "import sys, silkline; print('importlib.metadata' in sys.modules, silkline.__version__)"
    result = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:] = {sys.path!r}; {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split() == ["False", silkline.__version__]


def test_version() -> None:
    assert run("--version").stdout.startswith("silkline, version ")


@pytest.mark.parametrize(
    ("plain", "shown"),
    [
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, "Modell\N{MINUS SIGN}K"),
        ({"PYTHONIOENCODING": "latin-1"}, "Modell?K"),
    ],
)
def test_a_stream_that_is_no_utf_8_ends_no_command(
    plain: dict[str, str], shown: str, tmp_path: Path
) -> None:
    config = {"model_type": "llava", "architectures": ["Modell\N{MINUS SIGN}K\xf6rper"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    result = subprocess.run(
        command("inspect", str(tmp_path)), capture_output=True, env=os.environ | plain, check=False
    )
    assert result.returncode == 0, result.stderr
    assert shown.encode() in result.stdout


def test_an_interrupt_during_the_imports_is_no_traceback(tmp_path: Path) -> None:
    code = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n"
    (tmp_path / "click.py").write_text(code + "raise ImportError\n")
    result = subprocess.run(
        [sys.executable, "-m", "silkline", "doctor"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
        check=False,
    )
    assert result.returncode == -signal.SIGINT
    assert result.stderr == ""
