"""The rendered settings files in real processes: a gateway, and the engines that are there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import yaml

from tests.cli.commands import invoked
from tests.serving import Served, served

pytestmark = pytest.mark.slow

SETTINGS = """
[auth]
allow_anyone = true
[models.fake]
engine = "fake"
"""


def config(folder: Path, part: str, addresses: dict[str, str]) -> Path:
    """The settings file of a part, with addresses of this machine in place of names of pods."""
    manifest = yaml.safe_load((folder / "kubernetes" / f"{part}-config.yaml").read_text())
    text = manifest["data"]["silkline.toml"].replace('host = "0.0.0.0"', 'host = "127.0.0.1"')
    text = text.replace("lame_duck = 5", "lame_duck = 0")  # no node has to learn that it ends
    for name, address in addresses.items():
        text = text.replace(f"http://{name}.silkline-engine:8000", address)
    file = folder / f"{part}.toml"
    file.write_text(text)
    return file


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("running")
    (folder / "silkline.toml").write_text(SETTINGS)
    ended = invoked("render", "kubernetes", "-o", folder, "--config", folder / "silkline.toml")
    assert ended.code == 0
    with served("--config", str(config(folder, "engine", {}))) as engine:
        file = config(folder, "gateway", {"silkline-engine-0": engine.url})
        with served("--config", str(file)) as started:
            yield started


def test_a_gateway_answers_though_nine_of_ten_engines_are_not_there(gateway: Served) -> None:
    question = {"model": "fake", "messages": [{"role": "user", "content": "hello"}]}
    for _ in range(8):
        answer = httpx2.post(f"{gateway.url}/v1/chat/completions", json=question, timeout=30)
        assert answer.status_code == 200, answer.text
    assert httpx2.get(f"{gateway.url}/ready").status_code == 200
    metrics = httpx2.get(f"{gateway.url}/metrics").text
    assert 'silkline_replica_ready{model="fake",replica="engine-0"} 1.0' in metrics
    assert 'silkline_replica_ready{model="fake",replica="engine-9"} 0.0' in metrics
    # Only the engine that is there counts, with the requests that it computes and a quarter more.
    assert 'silkline_queue_capacity{model="fake"} 20.0' in metrics
    assert 'silkline_queue_backlog_seconds{model="fake"} 0.0' in metrics
