"""The worker's end of the socket, against gateways that do not keep to the agreement."""

import asyncio
import struct
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from silkline.core import Sampling
from silkline.engines.base import Engine, EngineOptions
from silkline.engines.registry import create_engine
from silkline.engines.worker import wire
from silkline.engines.worker.client import WorkerEngine
from silkline.engines.worker.frames import Kind
from silkline.engines.worker.server import WorkerServer
from silkline.errors import InvalidRequest
from tests.engines.asking import answer, eventually, question

LONG = question(sampling=Sampling(max_tokens=100), stream=True)


@asynccontextmanager
async def serving(socket: Path, **extra: str) -> AsyncGenerator[tuple[Engine, WorkerServer], None]:
    engine = create_engine("fake", EngineOptions(extra=extra))
    await engine.start()
    server = WorkerServer(engine, socket)
    await server.start()
    try:
        yield engine, server
    finally:
        await server.stop(0)
        await engine.aclose()


def frame(kind: int, call: int, body: bytes = b"") -> bytes:
    return struct.pack("<IBI", len(body), kind, call) + body


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, int, bytes]:
    length, kind, call = struct.unpack("<IBI", await reader.readexactly(9))
    return kind, call, await reader.readexactly(length)


async def test_garbage_ends_its_connection_and_no_other(tmp_path: Path) -> None:
    async with serving(tmp_path / "s"):
        engine = WorkerEngine(tmp_path / "s")
        await engine.start()
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", frame(Kind.LAST, 1), frame(Kind.CHUNK, 1)):
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
            writer.write(garbage)
            assert not await reader.read()
            writer.close()
        assert (await answer(engine, question())).text
        await engine.aclose()


async def test_a_request_that_is_none_is_refused_and_the_next_one_answered(tmp_path: Path) -> None:
    async with serving(tmp_path / "s", answer_words="2"):
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
        writer.write(frame(Kind.CANCEL, 5) + frame(Kind.ANSWER, 7, b"nonsense"))
        kind, call, body = await read_frame(reader)
        assert (kind, call) == (Kind.ERROR, 7)
        assert isinstance(wire.decode_error(body), InvalidRequest)
        writer.write(frame(Kind.ANSWER, 8, wire.encode_request(question(stream=False))))
        kind, call, body = await read_frame(reader)
        assert (kind, call) == (Kind.LAST, 8)
        assert wire.decode_delta(body).text
        writer.close()


async def test_a_gateway_that_goes_takes_its_calls_along(tmp_path: Path) -> None:
    async with serving(tmp_path / "s", token_seconds="0.1", answer_words="90") as (engine, _):
        _, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
        for call in range(4):
            kind = Kind.GENERATE if call % 2 else Kind.ANSWER
            writer.write(frame(kind, call, wire.encode_request(LONG)))
        await eventually(lambda: engine.health().running == 4)
        writer.close()
        await eventually(lambda: engine.health().running == 0, seconds=5)


async def test_calls_may_end_by_themselves_when_the_worker_stops(tmp_path: Path) -> None:
    async with serving(tmp_path / "s", token_seconds="0.02", answer_words="6") as (near, server):
        engine = WorkerEngine(tmp_path / "s")
        await engine.start()
        reader = asyncio.create_task(answer(engine, LONG))
        await eventually(lambda: near.health().running == 1)
        stopped = time.monotonic()
        await server.stop(10)
        assert time.monotonic() - stopped < 9
        assert (await reader).text
        await engine.aclose()
