"""Rendered files, held by copies of them; golden/silkline.toml says how to write these anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from silkline.config import load_settings
from silkline.deploy.catalogue import TARGETS

GOLDEN = Path(__file__).parent / "golden"
OF_OTHER_TARGETS = ("grafana/", "prometheus/", "alertmanager/")


@pytest.mark.parametrize("target", ["nginx", "haproxy", "envoy", "compose", "systemd", "jetson"])
def test_a_target_renders_what_it_did(target: str) -> None:
    files = TARGETS[target].render(load_settings(GOLDEN / "silkline.toml", {}, {}))
    kept = {
        path.relative_to(GOLDEN / target).as_posix(): path.read_text(encoding="utf-8")
        for path in (GOLDEN / target).rglob("*")
        if path.is_file()
    }
    assert {n: t for n, t in files.items() if not n.startswith(OF_OTHER_TARGETS)} == kept
