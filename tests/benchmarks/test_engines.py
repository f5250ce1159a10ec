"""The engine benchmark's arithmetic, and its cells with a stand-in engine."""

import asyncio
import os
import subprocess
import sys
import time
from typing import Any

import pytest
from aiohttp import web

from benchmarks import engines
from benchmarks.engines import _counted, arrivals, measure_bursts
from benchmarks.engines_report import AIMS, Cell, Measured, markdown, report
from benchmarks.engines_servers import Server, ask_server
from benchmarks.engines_subject import Note, image, serve_peer


def burst(rate: float, first: float = 1.0, many: int = 16) -> list[Measured]:
    return [
        Measured(
            seconds=many / rate,
            latencies=[first + 3.1] * many,
            first=[first] * many,
            tokens=[32] * many,
            computed=2.0 * many / rate,
        )
    ]


def test_ratios_compare_within_a_round_and_name_the_aim() -> None:
    measured = {
        Cell("openvino", 16): [burst(2.0), burst(4.0, 0.5), burst(3.0)],
        Cell("genai", 16): [burst(1.0), burst(2.5, 2.0), burst(2.0)],
        Cell("genai", 4): [burst(9.0)] * 3,
    }
    made = report(measured, AIMS, "so many clients at once", {"vllm": "no --vllm-python"})
    (ratio,) = made.ratios
    assert (ratio.one, ratio.other, ratio.clients, ratio.aim) == ("openvino", "genai", 16, 1.0)
    assert (ratio.rate.least, ratio.rate.median, ratio.rate.most) == (1.5, 1.6, 2.0)
    assert (ratio.first.least, ratio.first.median, ratio.first.most) == (1.0, 1.0, 4.0)
    assert made.found[0].rate.median == 3.0
    assert made.found[0].per_token.median == pytest.approx(0.1)
    assert made.found[0].computed.median == pytest.approx(2 / 3)
    text = markdown(made)
    line = "| 16 | Silkline, engine openvino | 3.00 (2.00 to 4.00) | 1.00 | 100 | 4.10 | 0.67 |"
    assert line in text
    assert "1.60 (1.50 to 2.00) | 1.00 (1.00 to 4.00) | 1 |" in text
    assert "| - | vLLM's CPU build, bfloat16 | not measured: no --vllm-python |" in text


def test_requests_arrive_at_random_at_the_rate_that_is_asked() -> None:
    first = arrivals(100.0, 1)
    assert first == arrivals(100.0, 1) != arrivals(100.0, 2)
    assert first == sorted(first)
    assert 0.05 < first[-1] < 1.0


def test_every_image_is_another() -> None:
    seen = {image(number).tobytes() for number in range(20)}
    assert len(seen) == 20
    assert image(3).tobytes() == image(3).tobytes()


class Stepping:
    """Gives every request a token a step."""

    def __init__(self) -> None:
        self.running: dict[int, int] = {}
        self.together: list[int] = []

    def add(self, place: int, pixels: Any) -> None:
        self.running[place] = 0

    def step(self, note: Note) -> None:
        self.together.append(len(self.running))
        time.sleep(0.01)
        for place in list(self.running):
            self.running[place] += 1
            note(place, self.running[place])
            if self.running[place] == 4:
                del self.running[place]


def test_requests_join_when_they_come() -> None:
    peer = Stepping()
    told = serve_peer(peer, {"first": 0, "arrivals": [0.0, 0.0, 0.015]}, 4)
    assert peer.together[0] == 2
    assert max(peer.together) == 3
    assert told["tokens"] == [4, 4, 4]
    assert all(
        0 < first < whole for first, whole in zip(told["first"], told["latencies"], strict=True)
    )
    late = serve_peer(peer, {"first": 0, "arrivals": [0.05]}, 4)
    assert late["seconds"] >= 0.05 > late["latencies"][0]


def test_few_clients_ask_several_times() -> None:
    asked: dict[str, list[tuple[int, int]]] = {"a": [], "b": []}

    def subject(name: str) -> engines.Run:
        def run(first: int, at: Any) -> Measured:
            asked[name].append((first, len(at)))
            return burst(1.0, many=len(at))[0]

        return run

    measured = measure_bursts({name: subject(name) for name in asked}, 1, (1, 4))
    assert [many for _, many in asked["a"]] == [1, 1, 1, 1, 4]
    shown = [
        n for calls in asked.values() for first, many in calls for n in range(first, first + many)
    ]
    assert len(shown) == len(set(shown)) == 16
    assert {cell: len(rounds) for cell, rounds in measured.items()} == {
        Cell(name, many): 1 for name in asked for many in (1, 4)
    }


WORKER = """
import time
while time.process_time() < 0.4:
    pass
print(flush=True)
input()
"""


def test_the_processor_time_of_all_processes_counts() -> None:
    """A child works, and is still there; the process that started it only waits."""
    command = [sys.executable, "-c", WORKER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:

        def ask() -> dict[str, Any]:
            assert child.stdout is not None
            child.stdout.readline()
            return {"seconds": 1.0, "latencies": [1.0], "first": [0.5], "tokens": [32]}

        measured = _counted(os.getpid(), [0.0], ask)
        child.communicate(b"\n")
    assert measured.computed >= 0.3


def test_a_server_is_asked_and_its_first_token_timed() -> None:
    seen: list[dict[str, Any]] = []

    async def complete(request: web.Request) -> web.StreamResponse:
        seen.append(await request.json())
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(b'data: {"choices": [{"delta": {"role": "assistant"}}]}\n\n')
        await asyncio.sleep(0.05)
        await answer.write(b'data: {"choices": [{"delta": {"content": "A"}}]}\n\n')
        await asyncio.sleep(0.05)
        await answer.write(b'data: {"choices": [{"delta": {"content": " cup"}}]}\n\n')
        await answer.write(b'data: {"choices": [], "usage": {"completion_tokens": 7}}\n\n')
        await answer.write(b"data: [DONE]\n\n")
        return answer

    async def served() -> dict[str, Any]:
        app = web.Application(client_max_size=1 << 24)
        app.router.add_post("/v1/chat/completions", complete)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        try:
            server = Server(f"http://127.0.0.1:{port}", os.getpid(), "")
            return await asyncio.to_thread(ask_server, server, 3, [0.0, 0.0], 7)
        finally:
            await runner.cleanup()

    told = asyncio.run(served())
    assert told["tokens"] == [7, 7]
    for first, whole in zip(told["first"], told["latencies"], strict=True):
        assert 0.05 <= first <= whole - 0.04
    images = {body["messages"][0]["content"][0]["image_url"]["url"] for body in seen}
    assert len(images) == 2
