"""Batches whose gateway or worker is killed: each line has one result all the same."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest
from openai import OpenAI

from tests.gateway.batches.jobs import create, ended, line, results, text_of
from tests.serving import Served, served

SETTINGS = """
[engine]
engine = "fake"
engine_options = { mode = "echo", token_seconds = "0.002" }

[batch]
batch_folder = "batches"
"""


def opened(server: Served) -> OpenAI:
    return OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=5)


def killed(server: Served) -> None:
    """Kills the gateway and its worker, as a machine that fails does."""
    worker = server.worker()
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait()
    if worker.is_running():
        worker.kill()


def campaign(folder: Path, lines: int, kills: int, seed: int) -> None:
    """Runs a batch over as many kills; each line must have one result."""
    (folder / "silkline.toml").write_text(SETTINGS, encoding="utf-8")
    rng = random.Random(seed)
    batch, before = "", 0
    for _ in range(kills):
        with served(folder=folder) as server, opened(server) as client:
            if not batch:
                batch = create(client, [line(f"id-{n}", f"text {n}") for n in range(lines)]).id
            elif rng.random() < 0.5:
                server.worker().kill()
            found = client.batches.retrieve(batch)
            assert found.request_counts is not None
            assert found.request_counts.completed >= before
            time.sleep(rng.uniform(0.1, 0.6))
            found = client.batches.retrieve(batch)
            assert found.request_counts is not None
            before = found.request_counts.completed
            killed(server)
    with served(folder=folder) as server, opened(server) as client:
        found = ended(client, batch, 300)
        assert found.status == "completed"
        answers = results(client, found.output_file_id)
        assert [one["custom_id"] for one in answers] == [f"id-{n}" for n in range(lines)]
        assert [text_of(one) for one in answers] == [f"text {n}" for n in range(lines)]
        assert found.request_counts is not None
        assert (found.request_counts.completed, found.request_counts.failed) == (lines, 0)


@pytest.mark.slow
def test_a_batch_survives_a_kill(tmp_path: Path) -> None:
    campaign(tmp_path, lines=600, kills=2, seed=1)


@pytest.mark.full
@pytest.mark.timeout(900)
def test_a_batch_of_2000_survives_10_kills(tmp_path: Path) -> None:
    campaign(tmp_path, lines=2000, kills=10, seed=7)
