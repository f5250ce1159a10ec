"""The environments that export models: made once, from pins, by pip."""

import fcntl
import os
import subprocess
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

from silkline.engines.openvino.export import environment as environments
from silkline.engines.openvino.export.environment import ExportEnvironment, export_environment
from silkline.engines.openvino.support import EXPORTED_MODEL_TYPES
from silkline.errors import EnvironmentFault

pytest.importorskip("torch")


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one wheel, which is the only place where pip may look."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    with zipfile.ZipFile(folder / "tiny_exporter-1.0-py3-none-any.whl", "w") as wheel:
        info = "tiny_exporter-1.0.dist-info"
        wheel.writestr("tiny_exporter.py", "VALUE = 7\n")
        wheel.writestr(
            f"{info}/METADATA",
            "Metadata-Version: 2.1\nName: tiny-exporter\nVersion: 1.0\nRequires-Dist: nowhere\n",
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    pins = tmp_path / "pins"
    pins.mkdir()
    torch = version("torch").partition("+")[0]
    (pins / "common.txt").write_text(f"# comment\ntorch=={torch}\n")
    (pins / "group.txt").write_text("tiny-exporter==1.0\n")
    monkeypatch.setattr(environments, "_PINS", pins)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def environment(tmp_path: Path) -> ExportEnvironment:
    return export_environment("group", {"XDG_CACHE_HOME": str(tmp_path / "cache")})


@pytest.mark.slow
def test_an_environment_is_made_once_and_finds_silklines_own_packages(
    wheels: Path, tmp_path: Path
) -> None:
    told: list[str] = []
    python = environment(tmp_path).python(told.append)
    assert python.is_relative_to(tmp_path / "cache" / "silkline" / "environments")
    code = (
        "import importlib.util, silkline.engines.openvino.export.protocol, tiny_exporter;"
        "print(tiny_exporter.VALUE, importlib.util.find_spec('torch') is not None)"
    )
    done = subprocess.run(
        [python, "-P", "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.stdout.strip() == "7 True", done.stderr
    assert any("Installing" in line for line in told)
    (wheels / "tiny_exporter-1.0-py3-none-any.whl").unlink()
    assert environment(tmp_path).python(pytest.fail) == python


def test_without_an_index_it_is_told_what_to_do_and_nothing_is_left(
    wheels: Path, tmp_path: Path
) -> None:
    (wheels / "tiny_exporter-1.0-py3-none-any.whl").unlink()
    missing = environment(tmp_path)
    with pytest.raises(EnvironmentFault, match=r"No matching distribution.*tiny-exporter") as fault:
        missing.python(lambda _: None)
    remedy = fault.value.remedy or ""
    assert remedy.startswith("pip download --no-deps -d wheels -r ")
    assert "group.txt" in remedy
    left = [path.name for path in missing.folder.parent.iterdir() if path.is_dir()]
    assert left == []


def test_a_second_process_waits_and_can_be_cancelled(wheels: Path, tmp_path: Path) -> None:
    wanted = environment(tmp_path)
    wanted.folder.parent.mkdir(parents=True)

    def cancel(line: str) -> None:
        assert "another process makes" in line
        raise EnvironmentFault("cancelled")

    with wanted.folder.with_name(f"{wanted.folder.name}.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(EnvironmentFault, match="cancelled"):
            wanted.python(cancel)


def test_pip_is_killed_when_the_start_is_cancelled(
    wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = tmp_path / "started"
    code = f"import os, time; open({str(started)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    monkeypatch.setattr(environments, "_PIP", ("-c", code))

    def cancel(_: str) -> None:
        if started.exists():
            raise EnvironmentFault("cancelled")

    with pytest.raises(EnvironmentFault, match="cancelled"):
        environment(tmp_path).python(cancel)
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)


def test_another_version_in_silklines_own_environment_is_another_environment(
    wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = environment(tmp_path)
    monkeypatch.setattr(environments, "version", lambda name: "0.1")
    second = environment(tmp_path)
    assert first.pins == second.pins
    assert first.folder != second.folder


@pytest.mark.parametrize("group", sorted(set(EXPORTED_MODEL_TYPES.values())))
def test_every_group_pins_what_exports(group: str) -> None:
    pins = export_environment(group, {}).pins
    assert {"optimum-intel", "nncf", "torch", "transformers"} <= pins.keys()
    assert f"transformers-{pins['transformers'].rpartition('.')[0]}" == group
    assert "torchvision" not in pins
