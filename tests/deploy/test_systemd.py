"""The rendered units, by systemd's own checks; CI's containers have no systemd."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.deploy.balancers import program
from tests.deploy.promtool import rendered

MAX_EXPOSURE = 25
"""In tenths of systemd's scale, which calls a unit below 2.5 well sandboxed."""


def test_a_unit_ends_after_the_drain_and_has_the_memory_of_its_workers(tmp_path: Path) -> None:
    settings = (
        "[server]\nlame_duck = 5\ndrain_timeout = 60\n[engine]\nworkers = 2\n"
        "[deploy]\ngateway_memory_bytes = 1073741824\nengine_memory_bytes = 2147483648\n"
    )
    unit = (rendered(tmp_path, settings, "systemd") / "systemd" / "silkline.service").read_text()
    assert "\nTimeoutStopSec=75\n" in unit
    assert f"\nMemoryMax={5 * 1024**3}\n" in unit
    assert "\nPrivateDevices=yes\n" in unit


@pytest.mark.full
@pytest.mark.parametrize("target", ["systemd", "jetson"])
@pytest.mark.parametrize("accelerator", ["none", "nvidia"])
def test_systemd_finds_nothing_wrong(tmp_path: Path, target: str, accelerator: str) -> None:
    rendered(tmp_path, f'[deploy]\naccelerator = "{accelerator}"\n', target)
    unit = tmp_path / target / "silkline.service"
    installed = tmp_path / "silkline.service"  # verify wants programs that exist
    text = unit.read_text().replace("/opt/silkline/bin/silkline", "/bin/true")
    installed.write_text(text.replace("/usr/sbin/nvpmodel", "/bin/true"))
    for check in (["verify"], ["security", "--offline=yes", f"--threshold={MAX_EXPOSURE}"]):
        ended = subprocess.run(
            [program("systemd-analyze"), *check, installed],
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
