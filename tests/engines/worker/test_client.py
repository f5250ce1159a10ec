"""A far engine over a real socket, served from the same event loop."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from silkline.core import Delta, Request, Sampling
from silkline.engines.base import Engine, EngineInfo, EngineOptions, Health
from silkline.engines.registry import create_engine
from silkline.engines.worker import client, wire
from silkline.engines.worker import server as server_module
from silkline.engines.worker.client import WorkerEngine
from silkline.engines.worker.server import create_server
from silkline.errors import (
    DeadlineExceeded,
    EnvironmentFault,
    InternalFault,
    InvalidRequest,
    Overloaded,
    WorkerLost,
)
from tests.engines.asking import answer, deltas, eventually, picture, question, request, user


@asynccontextmanager
async def far(near: Engine, socket: Path) -> AsyncGenerator[WorkerEngine, None]:
    """The engine, started, behind a socket."""
    await near.start()
    server = create_server(near, socket)
    await server.start()
    engine = WorkerEngine(socket)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.aclose()
        await server.stop(None)
        await near.aclose()


@asynccontextmanager
async def far_fake(socket: Path, **extra: str) -> AsyncGenerator[tuple[Engine, WorkerEngine], None]:
    near = create_engine("fake", EngineOptions(extra=extra))
    async with far(near, socket) as engine:
        yield near, engine


class Stubborn(Engine):
    """Does to every request what it is told to; knows no deadline."""

    def __init__(self, failure: Exception | None) -> None:
        self.failure = failure
        self.closed = 0

    @property
    def info(self) -> EngineInfo:
        return EngineInfo("stubborn", "stubborn", "0", "none", 100, 1)

    async def start(self) -> None: ...

    async def generate(self, request: Request) -> AsyncGenerator[Delta, None]:
        try:
            if self.failure is not None:
                raise self.failure
            await asyncio.Event().wait()
            yield Delta("")
        finally:
            self.closed += 1

    def health(self) -> Health:
        return Health(0, 0, 0.0)

    async def aclose(self) -> None: ...


async def test_it_is_what_the_far_engine_is(tmp_path: Path) -> None:
    async with far_fake(tmp_path / "s") as (near, engine):
        assert engine.info == near.info


async def test_an_answer_that_nobody_streams_is_one_delta(tmp_path: Path) -> None:
    async with far_fake(tmp_path / "s", answer_words="30", token_seconds="0.001") as (_, engine):
        sampling = Sampling(max_tokens=100)
        whole = await deltas(engine, question(stream=False, sampling=sampling))
        assert len(whole) == 1
        streamed = await deltas(engine, question(stream=True, sampling=sampling))
        assert len(streamed) > 10
        assert "".join(piece.text for piece in streamed) == whole[0].text


@pytest.mark.parametrize("stream", [True, False])
async def test_errors_come_over_as_they_are(tmp_path: Path, stream: bool) -> None:
    async with far_fake(tmp_path / "s", oom_on_text="<oom>") as (_, engine):
        with pytest.raises(Overloaded) as full:
            await answer(engine, question("<oom>", stream=stream))
        assert full.value.retry_after == 5
        with pytest.raises(InvalidRequest) as wrong:
            await answer(engine, request(user(3), stream=stream))
        assert wrong.value.param == "messages"


@pytest.mark.parametrize("stream", [True, False])
async def test_foreign_errors_stay_in_the_workers_log(
    tmp_path: Path, stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with far(Stubborn(RuntimeError("at /secret/path")), tmp_path / "s") as engine:
        with pytest.raises(InternalFault) as caught:
            await answer(engine, question(stream=stream))
        assert "secret" not in str(caught.value)
        assert "/secret/path" in caplog.text


@pytest.mark.parametrize("stream", [True, False])
async def test_cancelling_reaches_the_engine_within_half_a_second(
    tmp_path: Path, stream: bool
) -> None:
    async with far_fake(tmp_path / "s", answer_words="200", token_seconds="0.01") as (near, engine):
        asked = question(stream=stream, sampling=Sampling(max_tokens=200))
        readers = [asyncio.create_task(answer(engine, asked)) for _ in range(8)]
        await eventually(lambda: near.health().running == 8)
        for reader in readers:
            reader.cancel()
        cancelled = time.monotonic()
        await eventually(lambda: near.health().running == 0, seconds=2)
        assert time.monotonic() - cancelled < 0.5


async def test_closing_a_stream_reaches_the_engine(tmp_path: Path) -> None:
    async with far_fake(tmp_path / "s", answer_words="200", token_seconds="0.01") as (near, engine):
        stream = engine.generate(question(sampling=Sampling(max_tokens=200)))
        await anext(stream)
        await stream.aclose()
        await eventually(lambda: near.health().running == 0, seconds=2)


async def test_large_pictures_pass(tmp_path: Path) -> None:
    async with far_fake(tmp_path / "s", mode="echo") as (_, engine):
        asked = request(user(0), images=(picture(width=4000, height=2000),))
        assert (await answer(engine, asked)).text == "[4000x2000]"


@pytest.mark.parametrize("stream", [True, False])
async def test_a_deadline_holds_even_when_the_engine_does_not_know_it(
    tmp_path: Path, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "DEADLINE_SLACK_SECONDS", 0.1)
    near = Stubborn(None)
    async with far(near, tmp_path / "s") as engine:
        with pytest.raises(DeadlineExceeded):
            await answer(engine, question(timeout_seconds=0.1, stream=stream))
        await eventually(lambda: near.closed == 1)


async def test_nobody_at_the_socket_is_a_lost_worker(tmp_path: Path) -> None:
    engine = WorkerEngine(tmp_path / "nobody")
    with pytest.raises(WorkerLost):
        await engine.start()
    with pytest.raises(WorkerLost):
        await answer(engine, question())


@pytest.mark.parametrize("stream", [True, False])
async def test_a_server_that_ends_is_a_lost_worker(tmp_path: Path, stream: bool) -> None:
    near = create_engine("fake", EngineOptions(extra={"token_seconds": "1"}))
    await near.start()
    server = create_server(near, tmp_path / "s")
    await server.start()
    engine = WorkerEngine(tmp_path / "s")
    await engine.start()
    reader = asyncio.create_task(answer(engine, question(stream=stream)))
    await eventually(lambda: near.health().running == 1)
    await server.stop(None)
    with pytest.raises(WorkerLost):
        await reader
    await engine.aclose()
    await near.aclose()


@pytest.mark.parametrize("stream", [True, False])
async def test_closing_the_channel_loses_its_calls_but_cancels_nobody(
    tmp_path: Path, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "CLOSE_SECONDS", 0.05)
    async with far_fake(tmp_path / "s", token_seconds="1") as (near, engine):
        reader = asyncio.create_task(answer(engine, question(stream=stream)))
        await eventually(lambda: near.health().running == 1)
        await engine.aclose()
        with pytest.raises(WorkerLost):
            await reader


async def test_another_version_is_told_in_plain_words(tmp_path: Path) -> None:
    async def info(body: bytes, context: object) -> bytes:
        return b"\x92\x02\xa3new"

    server = grpc.aio.server()
    handlers = {wire.INFO: grpc.unary_unary_rpc_method_handler(info)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(wire.SERVICE, handlers),))
    server.add_insecure_port(f"unix:{tmp_path / 's'}")
    await server.start()
    engine = WorkerEngine(tmp_path / "s")
    with pytest.raises(EnvironmentFault, match="different versions"):
        await engine.start()
    await server.stop(None)


@asynccontextmanager
async def far_as(socket: Path, **calls: Callable[..., Any]) -> AsyncGenerator[WorkerEngine, None]:
    """An engine whose worker answers as the calls say; the others are those of a good one."""
    near = create_engine("fake", EngineOptions())
    good = server_module._Service(near)
    rpcs = {
        wire.INFO: grpc.unary_unary_rpc_method_handler(good._info),
        wire.HEALTH: grpc.unary_unary_rpc_method_handler(calls.get("health", good._health)),
        wire.ANSWER: grpc.unary_unary_rpc_method_handler(calls.get("answer", good._answer)),
        wire.GENERATE: grpc.unary_stream_rpc_method_handler(calls.get("generate", good._generate)),
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(wire.SERVICE, rpcs),))
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    engine = WorkerEngine(socket)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.aclose()
        await server.stop(None)


@pytest.mark.parametrize("status", [grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN])
async def test_an_end_that_the_worker_does_not_explain_is_its_own(
    tmp_path: Path, status: grpc.StatusCode
) -> None:
    async def abort(_body: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        await context.abort(status, "Stream removed")
        raise AssertionError

    async with far_as(tmp_path / "s", answer=abort) as engine:
        with pytest.raises(WorkerLost):
            await answer(engine, question(stream=False))


async def test_a_worker_that_talks_nonsense_is_not_the_clients_fault(tmp_path: Path) -> None:
    async def nonsense(_body: bytes, _context: object) -> bytes:
        return b"nonsense"

    async def stream(_body: bytes, _context: object) -> AsyncGenerator[bytes, None]:
        yield b"nonsense"

    async def note(_body: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        metadata = ((wire.ERROR_KEY, b"nonsense"),)
        await context.abort(grpc.StatusCode.INTERNAL, trailing_metadata=metadata)

    calls = {"answer": nonsense, "generate": stream, "health": nonsense}
    async with far_as(tmp_path / "s", **calls) as engine:
        for streamed in (True, False):
            with pytest.raises(InternalFault):
                await answer(engine, question(stream=streamed))
        with pytest.raises(WorkerLost):
            await engine.probe(1.0)
    async with far_as(tmp_path / "t", answer=note) as engine:
        with pytest.raises(InternalFault):
            await answer(engine, question(stream=False))


async def test_the_probe_brings_the_health(tmp_path: Path) -> None:
    async with far_fake(tmp_path / "s", token_seconds="1") as (near, engine):
        assert engine.health() == Health(0, 0, 0.0)
        reader = asyncio.create_task(answer(engine, question()))
        await eventually(lambda: near.health().running == 1)
        assert (await engine.probe(1.0)).running == 1
        assert engine.health().running == 1
        reader.cancel()
