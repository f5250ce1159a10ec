"""`silkline key`."""

from __future__ import annotations

import stat
from pathlib import Path

from click.testing import CliRunner, Result

from silkline.cli.key import key
from silkline.errors import ConfigError, EnvironmentFault
from silkline.gateway.keys import KEY_PREFIX, KeyRing


def run(*arguments: str) -> Result:
    return CliRunner().invoke(key, arguments)


def test_a_key_into_a_new_file_and_into_one_with_more(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    first = run("shop", "--into", str(file), "--days", "30")
    assert first.exit_code == 0, first.output
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with file.open("a", encoding="utf-8") as more:
        more.write("[tenants.shop]\nweight = 3.0")  # no line's end
    second = run("brand", "--into", str(file))
    ring = KeyRing.load(file)
    assert len(ring) == 2
    for result, name in ((first, "shop"), (second, "brand")):
        made = result.stdout.strip()
        assert made.startswith(KEY_PREFIX)
        assert made not in file.read_text(encoding="utf-8")
        holder = ring.holder(made.encode())
        assert holder is not None
        assert holder.tenant.name == name
        assert (holder.expires is None) == (name == "brand")


def test_lines_to_paste(tmp_path: Path) -> None:
    result = run("shop")
    file = tmp_path / "keys.toml"
    file.write_text(result.stderr, encoding="utf-8")
    assert KeyRing.load(file).holder(result.stdout.strip().encode()) is not None


def test_nothing_is_added_to_a_broken_file(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    file.write_text("broken", encoding="utf-8")
    result = run("shop", "--into", str(file))
    assert isinstance(result.exception, ConfigError)
    assert file.read_text(encoding="utf-8") == "broken"
    assert KEY_PREFIX not in result.stdout


def test_a_name_that_no_tenant_has(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    for name in ("anyone", "a b", 'x"]', ""):
        assert isinstance(run(name, "--into", str(file)).exception, ConfigError)
    assert not file.exists()


def test_a_file_that_cannot_be_looked_at_is_told() -> None:
    error = run("shop", "--into", "/" + "a" * 300).exception
    assert isinstance(error, EnvironmentFault)
    assert "cannot be written: File name too long" in error.message
