"""The shop's load against a server that fails as a killed gateway does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.shop.load import Answered, Ask, Door, Play, ask, play
from benchmarks.shop.plan import Phase
from benchmarks.shop.truth import answers_of

_BODY = b'{"choices": [{"message": {"content": "a mug"}}]}'
_ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-silkline-cache: hit\r\n"
    b"x-silkline-model: shop@1\r\nx-silkline-experiment: next=candidate\r\n"
)
_REFUSAL = b"HTTP/1.1 502 Bad Gateway\r\nretry-after: 0\r\n"
_IMAGES = [b"jpeg-%d" % number for number in range(40)]


@asynccontextmanager
async def server(*outcomes: str) -> AsyncIterator[str]:
    """Answers each request in turn: `answer`, `refuse`, `break` or `stay silent`; then answers."""
    left = list(outcomes)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, asyncio.CancelledError):
                break
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            await reader.readexactly(length)
            outcome = left.pop(0) if left else "answer"
            if outcome == "break":
                break
            if outcome == "stay silent":
                continue
            start, body = (_ANSWER, _BODY) if outcome == "answer" else (_REFUSAL, b"{}")
            writer.write(start + b"content-length: %d\r\n\r\n" % len(body) + body)
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()


async def asked(url: str, folder: Path, seconds: float = 5.0) -> Answered:
    file = folder / "answers.jsonl"
    await ask(Ask(Door(url), [0], 1, str(file), seconds), _IMAGES)
    (found,) = answers_of(file)
    return found


async def test_what_a_gateway_breaks_or_refuses_is_sent_again(tmp_path: Path) -> None:
    async with server("break", "refuse") as url:
        found = await asked(url, tmp_path)
    assert found.record.ok
    assert (found.attempts, found.text, found.model) == (3, "a mug", "shop@1")
    assert (found.arm, found.record.cache) == ("next=candidate", "hit")
    assert found.record.latency >= 0.2, "the pauses are part of the latency"


async def test_what_is_never_answered_is_lost(tmp_path: Path) -> None:
    async with server("stay silent") as url:
        found = await asked(url, tmp_path, seconds=0.2)
    assert (found.record.ok, found.record.code, found.text) == (False, "timeout", "")


async def test_an_open_loop_keeps_every_answer(tmp_path: Path) -> None:
    file, began = tmp_path / "answers.jsonl", list[float]()
    phases = (Phase("before", 50, 0.3), Phase("sale", 250, 0.3))
    async with server("break") as url:
        order = Play(Door(url), phases, 10, 10, 0.1, 1.0, 1, str(file), 5.0)
        done = await play(order, _IMAGES, began.append)
    found = answers_of(file)
    assert len(began) == 1
    assert all(one.record.ok for one in found)
    assert sorted(one.record.number for one in found) == list(range(len(found)))
    assert sum(one.attempts for one in found) == len(found) + 1
    assert done.next_new == 10 + sum(one.record.image >= 10 for one in found)
