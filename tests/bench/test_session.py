"""The whole generator against a real server: players in processes of their own."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from PIL import Image

from silkline.bench.drawn import DrawnImages
from silkline.bench.percentiles import percentile
from silkline.bench.session import Step, is_loopback, run_bench
from silkline.bench.spec import Arrivals, Burst, Form, Limits, Spec, Target, Traffic
from silkline.bench.wire import Warm
from silkline.errors import ConfigError, EnvironmentFault
from tests.bench.stand_in import StandIn, answered, stalling, stand_in
from tests.pictures import encoded

SMALL = Traffic(catalogue=20, pixels=128)


def spec(*servers: StandIn, **changes: object) -> Spec:
    targets = tuple(
        Target(name, server.url, {"authorization": "Bearer secret"})
        for name, server in zip("AB", servers, strict=False)
    )
    values = {"arrivals": Arrivals(rate=60, seconds=1.5), "traffic": SMALL, **changes}
    return Spec(targets=targets, **values)  # type: ignore[arg-type]


async def test_what_was_due_was_sent_and_recorded() -> None:
    steps: list[Step] = []
    async with stand_in() as server:
        run = await run_bench(spec(server), steps.append)
    assert len(run.records) == len(server.bodies) > 50
    assert all(record.ok for record in run.records)
    for record in run.records:
        assert record.intended <= record.sent <= record.first_byte <= record.ended
        assert (record.cache, record.completion_tokens) == ("hit", 3)
        assert record.stages == {"decode": 0.0015, "cache": 0.0005}
        assert record.bytes_out > 3000
        assert record.bytes_in > 100
    intended = [record.intended for record in run.records]
    assert intended == sorted(intended)
    assert run.model == "stand-in"
    assert server.bodies[0]["model"] == "stand-in"
    assert server.headers[0]["Authorization"] == "Bearer secret"
    assert "secret" not in repr(run.spec)
    assert sum(step.progress.ended for step in steps) == len(run.records)
    pictures = server.pictures()
    assert 1 < len(set(pictures)) <= 20
    with Image.open(io.BytesIO(pictures[0])) as picture:
        assert picture.size == (128, 128)


@pytest.mark.slow
async def test_a_stall_counts_for_all_who_came_meanwhile() -> None:
    """Coordinated omission: with 200 a second, a stall of 1 s must show up 200 times, not once."""
    async with stand_in(stalling(1.0, after=100)) as server:
        run = await run_bench(spec(server, arrivals=Arrivals(rate=200, seconds=3)))
    latencies = [record.latency for record in run.records]
    assert all(record.ok for record in run.records)
    assert server.at_once > 100  # nobody waited for an earlier one
    assert sum(latency > 0.5 for latency in latencies) > 60
    assert percentile(latencies, 0.9) > 0.4
    assert percentile(latencies, 0.5) < 0.4


@pytest.mark.slow
async def test_a_cap_on_connections_is_reported_and_its_wait_counts() -> None:
    async def slow(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.2)
        return await answered(request)

    async with stand_in(slow) as server:
        run = await run_bench(spec(server, limits=Limits(connections=2)))
    assert server.at_once == 2
    limited = [record for record in run.records if record.limited]
    assert len(limited) > len(run.records) / 2
    last = run.records[-1]
    assert last.latency > 1  # 90 requests at 10 a second
    assert last.lateness > 1


@pytest.mark.slow
async def test_failures_are_told_apart() -> None:
    async def fail(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        kind = len(body["messages"][0]["content"][1]["text"]) % 4
        if kind == 0:
            return web.json_response({"error": {"code": "overloaded"}}, status=503)
        if kind == 1 and request.transport is not None:
            request.transport.abort()
        if kind == 2:
            await asyncio.sleep(5)
        return web.Response(text="no JSON")

    traffic = Traffic(
        catalogue=4, pixels=128, zipf=0, prompts=("four", "fives", "sixsix", "seven77")
    )
    async with stand_in(fail) as server:
        run = await run_bench(spec(server, traffic=traffic, limits=Limits(timeout=0.5)))
    codes = {(record.status, record.code) for record in run.records}
    assert codes == {
        (503, "overloaded"),
        (0, "connection_lost"),
        (0, "timeout"),
        (200, "malformed_response"),
    }


async def test_streams_have_first_tokens_and_gaps() -> None:
    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for word in ("A", " red", " mug"):
            text = f'data: {{"choices": [{{"delta": {{"content": "{word}"}}}}]}}\n\n'
            await response.write(text.encode())
            await asyncio.sleep(0.02)
        await response.write(b'data: {"choices": [], "usage": {"completion_tokens": 3}}\n\n')
        await response.write(b"data: [DONE]\n\n")
        return response

    traffic = Traffic(catalogue=5, pixels=128, stream=True)
    async with stand_in(stream) as server:
        run = await run_bench(spec(server, traffic=traffic))
    assert server.bodies[0]["stream_options"] == {"include_usage": True}
    for record in run.records:
        assert record.ok
        assert record.sent < record.first_token < record.ended
        assert len(record.gaps) == 2
        assert record.completion_tokens == 3


@pytest.mark.slow
async def test_two_targets_play_the_same_schedule_in_turns() -> None:
    async with stand_in() as first, stand_in() as second:
        run = await run_bench(spec(first, second, slice_seconds=0.5))
    assert first.pictures() == second.pictures()
    ours, theirs = run.of(0), run.of(1)
    assert [record.intended for record in ours] == [record.intended for record in theirs]
    assert all(record.ok for record in run.records)


async def test_several_processes_share_the_schedule() -> None:
    async with stand_in() as server:
        run = await run_bench(spec(server, limits=Limits(processes=2)))
    assert [record.number for record in run.records] == list(range(len(run.records)))
    assert len(server.bodies) == len(run.records)


@pytest.mark.slow
async def test_clients_of_a_closed_loop_wait_for_their_answers() -> None:
    async def slow(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.05)
        return await answered(request)

    arrivals = Arrivals(rate=10, seconds=1.0, clients=3)
    limits = Limits(processes=2)
    async with stand_in(slow) as a, stand_in(slow) as b:
        run = await run_bench(spec(a, b, arrivals=arrivals, limits=limits, slice_seconds=0.5))
    assert (a.at_once, b.at_once) == (3, 3)
    first, second = run.of(0), run.of(1)
    assert 6 < len(first) <= 60  # 3 clients, at most 20 a second each
    assert all(record.ok and 0 <= record.intended <= record.sent for record in run.records)
    shared = set(range(min(len(first), len(second)) // 2))
    drawn = [
        {each.number: each.image for each in side if each.number in shared}
        for side in (first, second)
    ]
    assert drawn[0].items() & drawn[1].items()
    assert all(drawn[1].get(number, image) == image for number, image in drawn[0].items())


async def test_a_client_that_is_refused_pauses() -> None:
    async def refusing(request: web.Request) -> web.StreamResponse:
        return web.json_response({"error": {"code": "no"}}, status=500)

    async with stand_in(refusing) as server:
        run = await run_bench(spec(server, arrivals=Arrivals(rate=1, seconds=0.5, clients=1)))
    assert {record.code for record in run.records} == {"no"}
    assert len(run.records) <= 6


@pytest.mark.parametrize(
    ("arrivals", "limits", "message"),
    [
        (Arrivals(1, 1, Burst(2, 1, 3), clients=1), Limits(), "have no bursts"),
        (Arrivals(1, 1, clients=1), Limits(processes=2), "cannot be divided"),
    ],
)
async def test_a_closed_loop_that_cannot_be(
    arrivals: Arrivals, limits: Limits, message: str
) -> None:
    server = StandIn("http://127.0.0.1:1")
    with pytest.raises(ConfigError, match=message):
        await run_bench(spec(server, arrivals=arrivals, limits=limits))


async def test_a_warm_start_asks_for_the_head_first() -> None:
    steps: list[Step] = []
    async with stand_in() as server:
        run = await run_bench(spec(server, warm=7), steps.append)
    assert len(server.bodies) == len(run.records) + 7
    assert len(set(server.pictures()[:7])) == 7
    assert run.health[0].warmed == 7
    assert run.health[0].warm_failures == 0
    assert isinstance(steps[0].command, Warm)


@pytest.mark.slow
async def test_pictures_are_served_for_urls() -> None:
    async def fetch(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        url = body["messages"][0]["content"][0]["image_url"]["url"]
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            assert response.content_type == "image/jpeg"
            fetched[url] = await response.read()
        return await answered(request)

    fetched: dict[str, bytes] = {}
    traffic = Traffic(catalogue=5, pixels=128, form=Form.URL)
    async with stand_in(fetch) as server:
        run = await run_bench(spec(server, traffic=traffic))
    assert all(record.ok for record in run.records)
    drawn = DrawnImages(128)
    assert 1 < len(fetched) <= 5
    for url, data in fetched.items():
        assert url.startswith("http://127.0.0.1:")
        assert data == drawn.jpeg(int(url.rpartition("/")[2].removesuffix("-0")))


async def test_own_pictures_are_sent_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "cup.jpg").write_bytes(encoded())
    async with stand_in() as server:
        await run_bench(spec(server, traffic=Traffic(folder=str(tmp_path))))
    assert set(server.pictures()) == {encoded()}


async def test_a_target_that_is_not_there_is_told() -> None:
    with pytest.raises(EnvironmentFault, match="does not answer"):
        await run_bench(spec(StandIn(url="http://127.0.0.1:9")))


async def test_pictures_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    async with stand_in() as server:
        with pytest.raises(ConfigError, match="no images"):
            await run_bench(spec(server, traffic=Traffic(folder=str(tmp_path))))


def test_only_loopback_is_loopback() -> None:
    assert is_loopback("http://127.0.0.1:8000")
    assert is_loopback("http://localhost:8000/base")
    assert is_loopback("http://[::1]:8000")
    assert not is_loopback("http://192.0.2.1:8000")
    assert not is_loopback("https://0.0.0.0:8000")
    for url in ("ftp://127.0.0.1", "127.0.0.1:8000", "http://"):
        with pytest.raises(ConfigError, match="no target"):
            is_loopback(url)
