"""The comparison of gateways: its requests, its upstream server, its table, and one short run."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import msgspec
import pytest
from PIL import Image

from benchmarks.gateways.measure import Found, Plan, measure
from benchmarks.gateways.peers import (
    DECODED,
    DIRECT,
    LITELLM,
    SGLANG_ROUTER,
    Place,
    cores,
    missing,
)
from benchmarks.gateways.table import markdown, over_rounds
from benchmarks.gateways.upstream import is_streamed
from benchmarks.gateways.workloads import (
    LARGE_PHOTOGRAPH,
    PHOTOGRAPH,
    STREAM,
    TEXT,
    WORKLOADS,
    Requests,
    prepare,
)
from benchmarks.processes import free_port

FOUND = Found(TEXT, 16, DIRECT, 100, 0, 700.0, 20.0, 30.0, 0.0, 0, 0.1)
PLAN = Plan((DIRECT, DECODED), (TEXT, PHOTOGRAPH, STREAM), (2,), 1, 0.0, 0.2, 5.0)


@pytest.fixture(scope="module")
def jpegs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("skimage")
    for name in ("coffee.png", "hubble_deep_field.jpg"):
        Image.effect_noise((64, 48), 20).convert("RGB").save(source / name)
    folder = source / "jpegs"
    prepare(source, folder)
    return folder


def body_of(chunks: list[bytes]) -> tuple[bytes, dict[str, object]]:
    head, _, body = b"".join(chunks).partition(b"\r\n\r\n")
    assert f"content-length: {len(body)}".encode() in head
    return body, msgspec.json.decode(body)


@pytest.mark.parametrize("workload", WORKLOADS)
def test_no_two_requests_are_equal(workload: str, jpegs: Path) -> None:
    requests = Requests(workload, "host:1", 1000, jpegs)
    first, _ = body_of(requests[0])
    second, _ = body_of(requests[999])

    assert first != second
    assert is_streamed(first) == (workload == STREAM)


@pytest.mark.parametrize("workload", [PHOTOGRAPH, LARGE_PHOTOGRAPH])
def test_each_photograph_is_another_file_with_the_same_pixels(workload: str, jpegs: Path) -> None:
    requests = Requests(workload, "host:1", 1000, jpegs)
    files = []
    for number in (3, 4):
        body, _ = body_of(requests[number])
        encoded = body.partition(b"base64,")[2].partition(b'"')[0]
        files.append(base64.b64decode(encoded, validate=True))
    assert files[0] != files[1]

    images = [Image.open(io.BytesIO(file)) for file in files]
    assert images[0].tobytes() == images[1].tobytes()
    assert images[0].info["comment"] == b"000000003"


def test_the_table_has_medians_and_the_latency_over_direct() -> None:
    slower = msgspec.structs.replace(FOUND, peer=DECODED, rate=350.0, p50=23.5, p99=40.0)
    plan = Plan((DIRECT, DECODED), (TEXT,), (16,), 3, 1.0, 3.0, 20.0)
    rounds = [msgspec.structs.replace(slower, rate=rate, errors=1) for rate in (350, 300, 900)]

    assert over_rounds(rounds).rate == 350.0
    assert over_rounds(rounds).errors == 3
    table = markdown({}, plan, [FOUND, *rounds])
    assert "| 16 | direct | 700 | 20.0 | 30.0 |  |  |" in table
    assert f"| 16 | {DECODED} | 350 | 23.5 | 40.0 | 3.5 | 10.0 |" in table


def test_peers_that_are_not_installed_are_named(tmp_path: Path) -> None:
    place = Place(tmp_path, tmp_path, "127.0.0.1:1", (0,))
    assert missing(LITELLM, place) == missing(SGLANG_ROUTER, place) == "make gateways"
    assert missing(DECODED, place) is None


@pytest.mark.slow
def test_every_workload_is_answered_through_silkline(tmp_path: Path, jpegs: Path) -> None:
    load_cores, peer_cores = cores()
    place = Place(tmp_path, tmp_path, f"127.0.0.1:{free_port()}", peer_cores)

    found = measure(PLAN, place, load_cores, jpegs)

    assert {(one.workload, one.peer) for one in found} == {
        (workload, peer) for workload in PLAN.workloads for peer in PLAN.peers
    }
    for one in found:
        assert one.errors == 0
        assert one.requests > 0
        assert (one.cpu_ms > 0) == (one.peer == DECODED) == (one.memory_bytes > 0)
