"""Models and batches on a real Ray cluster of three nodes, one of which is killed."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest

from silkline.engines.base import Engine
from silkline.engines.worker.address import NetworkAddress
from silkline.engines.worker.client import WorkerEngine
from tests.batch.images import write_images
from tests.engines.asking import eventually
from tests.engines.conformance import Conformance
from tests.service.ray.cluster import Nodes, running_cluster
from tests.serving import Served, command, served

pytestmark = [pytest.mark.full, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    with running_cluster(tmp_path_factory.mktemp("ray")) as found:
        yield found


@pytest.fixture(scope="module")
def computing(nodes: Nodes) -> list[Any]:
    """Two nodes beside the head, each with room for one worker."""
    return [nodes.add(cpus=2), nodes.add(cpus=2)]


@pytest.fixture(scope="module")
def gateway(nodes: Nodes, computing: list[Any]) -> Iterator[Served]:
    with served(
        "--on", "ray", "--ray-address", nodes.address,
        "--worker-resources", "CPU=2", "--workers", "2", "--max-batch", "4",
        "--engine", "fake", "--engine-options", "answer_words=20,token_seconds=0.004",
    ) as running:  # fmt: skip
        yield running


@pytest.fixture(scope="module")
def addresses(nodes: Nodes, gateway: Served) -> list[NetworkAddress]:
    """Where the workers listen, once both do."""
    limit = time.monotonic() + 60
    while ready_workers(gateway) < 2:
        assert time.monotonic() < limit
        time.sleep(0.1)
    return nodes.addresses()


class TestAnEngineOnRay(Conformance):
    @pytest.fixture
    async def engine(self, addresses: list[NetworkAddress]) -> AsyncIterator[Engine]:
        engine = WorkerEngine(addresses[0])
        await engine.start()
        yield engine
        await engine.aclose()


def body(text: str, **more: Any) -> dict[str, Any]:
    message = {"role": "user", "content": text}
    return {"model": "silkline-fake", "messages": [message], "max_tokens": 64, **more}


async def test_a_stream_comes_in_chunks_and_its_end_frees_the_worker(
    gateway: Served, addresses: list[NetworkAddress]
) -> None:
    async with httpx2.AsyncClient(base_url=gateway.url, timeout=30) as client:
        asked = body("Stream!", stream=True)
        async with client.stream("POST", "/v1/chat/completions", json=asked) as answer:
            lines = answer.aiter_lines()
            times = [time.monotonic() async for line in lines if line.startswith("data: {")]
        assert len(times) > 10
        assert times[-1] - times[0] > 0.04
        long = body("Long!", stream=True, max_tokens=2000, ignore_eos=True, min_tokens=2000)
        async with client.stream("POST", "/v1/chat/completions", json=long) as answer:
            assert answer.status_code == 200
            await anext(answer.aiter_lines())
    engines = [WorkerEngine(address) for address in addresses]
    for engine in engines:
        await engine.start()
        limit = time.monotonic() + 5  # an answer of 2,000 tokens would take 8 s
        while (await engine.probe(5)).running:
            assert time.monotonic() < limit
            await asyncio.sleep(0.05)
        await engine.aclose()


async def test_a_killed_node_loses_no_request(
    gateway: Served, nodes: Nodes, computing: list[Any]
) -> None:
    async with httpx2.AsyncClient(base_url=gateway.url, timeout=60) as client:

        async def ask(number: int) -> int:
            answer = await client.post("/v1/chat/completions", json=body(f"Question {number}"))
            return answer.status_code

        asking = [asyncio.create_task(ask(number)) for number in range(400)]
        await eventually(lambda: sum(task.done() for task in asking) > 20, seconds=60)
        await asyncio.to_thread(nodes.kill, computing.pop())
        assert [await task for task in asking] == [200] * 400
        metrics = (await client.get("/metrics")).text
    retries = [
        line for line in metrics.splitlines() if line.startswith("silkline_routing_retries_total")
    ]
    assert retries
    assert sum(float(line.split()[-1]) for line in retries) > 0


async def test_a_new_node_gets_the_lost_worker(gateway: Served, nodes: Nodes) -> None:
    nodes.add(cpus=2)
    limit = time.monotonic() + 60
    while ready_workers(gateway) < 2:
        assert time.monotonic() < limit
        await asyncio.sleep(0.3)


def ready_workers(gateway: Served) -> int:
    lines = httpx2.get(f"{gateway.url}/metrics").text.splitlines()
    ready = [line for line in lines if line.startswith("silkline_replica_ready{")]
    return sum(float(line.split()[-1]) == 1.0 for line in ready)


def test_a_batch_survives_a_killed_node(nodes: Nodes, tmp_path: Path) -> None:
    spare = nodes.add(cpus=1)
    nodes.add(cpus=1)
    write_images(tmp_path / "in", 120, 90)
    (tmp_path / "in" / "broken.png").write_bytes(b"no image")
    arguments = command(
        "batch", str(tmp_path / "in"), str(tmp_path / "out"), "--json",
        "--on", "ray", "--ray-address", nodes.address, "--workers", "2",
        "--model", "silkline-fake engine=fake max_batch=2 "
        "engine_options=answer_words=8,token_seconds=0.02",
    )  # fmt: skip
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    journal = tmp_path / "out" / "journal.sqlite"
    limit = time.monotonic() + 60
    while results_of(journal) < 10:
        assert time.monotonic() < limit
        time.sleep(0.1)
    nodes.kill(spare)
    said, log = process.communicate(timeout=90)
    assert process.returncode == 1, log
    figures = json.loads(said)
    assert (figures["items"], figures["answered"], figures["failed"]) == (121, 120, 1)
    assert figures["errors"] == {"image_format": 1}
    assert (figures["asked"], figures["duplicates"]) == (91, 30)
    rows = (tmp_path / "out" / "answers.jsonl").read_text().splitlines()
    assert len({json.loads(row)["id"] for row in rows}) == len(rows) == 121


def results_of(journal: Path) -> int:
    try:
        with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as file:
            return int(file.execute("SELECT count(*) FROM results").fetchone()[0])
    except sqlite3.Error:
        return 0
