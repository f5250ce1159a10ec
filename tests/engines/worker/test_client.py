"""A far engine over a real socket, served from the same event loop."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from silkline.core import Delta, EngineInfo, Health, Request, Sampling
from silkline.engines.base import Engine, EngineOptions
from silkline.engines.registry import create_engine
from silkline.engines.worker import client, wire
from silkline.engines.worker.client import WorkerEngine
from silkline.engines.worker.frames import FrameProtocol, Kind
from silkline.engines.worker.server import WorkerServer
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
    server = WorkerServer(near, socket)
    await server.start()
    engine = WorkerEngine(socket)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.aclose()
        await server.stop(0)
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
async def test_cancelling_reaches_the_engine_at_once(tmp_path: Path, stream: bool) -> None:
    async with far_fake(tmp_path / "s", answer_words="200", token_seconds="0.1") as (near, engine):
        asked = question(stream=stream, sampling=Sampling(max_tokens=200))
        readers = [asyncio.create_task(answer(engine, asked)) for _ in range(8)]
        await eventually(lambda: near.health().running == 8)
        for reader in readers:
            reader.cancel()
        await eventually(lambda: near.health().running == 0)


async def test_closing_a_stream_reaches_the_engine(tmp_path: Path) -> None:
    async with far_fake(tmp_path / "s", answer_words="200", token_seconds="0.1") as (near, engine):
        stream = engine.generate(question(sampling=Sampling(max_tokens=200)))
        await anext(stream)
        await stream.aclose()
        await eventually(lambda: near.health().running == 0)


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
    server = WorkerServer(near, tmp_path / "s")
    await server.start()
    engine = WorkerEngine(tmp_path / "s")
    await engine.start()
    reader = asyncio.create_task(answer(engine, question(stream=stream)))
    await eventually(lambda: near.health().running == 1)
    await server.stop(0)
    with pytest.raises(WorkerLost):
        await reader
    await engine.aclose()
    await near.aclose()


@pytest.mark.parametrize("stream", [True, False])
async def test_closing_the_connection_loses_its_calls_but_cancels_nobody(
    tmp_path: Path, stream: bool
) -> None:
    async with far_fake(tmp_path / "s", token_seconds="1") as (near, engine):
        reader = asyncio.create_task(answer(engine, question(stream=stream)))
        await eventually(lambda: near.health().running == 1)
        await engine.aclose()
        with pytest.raises(WorkerLost):
            await reader
        await eventually(lambda: near.health().running == 0)


async def test_a_worker_that_never_says_what_it_is_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "CALL_SECONDS", 0.1)
    async with impostor(tmp_path / "s", {}, silent=True) as engine:
        with pytest.raises(WorkerLost, match="does not answer"):
            await engine.start()


class Impostor(FrameProtocol):
    """A worker that answers calls of each kind with what it is told to."""

    def __init__(
        self, answers: Mapping[Kind, tuple[Kind, bytes] | None], *, silent: bool = False
    ) -> None:
        super().__init__()
        self.silent = silent
        self.answers = {Kind.INFO: (Kind.LAST, GOOD_INFO), **answers}

    def frame_received(self, kind: Kind, call: int, body: memoryview) -> None:
        if kind is Kind.CANCEL or self.silent:
            return
        answer = self.answers[kind]
        if answer is None:
            self.abort()
        else:
            self.send_now(answer[0], call, answer[1])

    def ended(self) -> None: ...


GOOD_INFO = wire.encode_info(Stubborn(None).info)


@asynccontextmanager
async def impostor(
    socket: Path, answers: Mapping[Kind, tuple[Kind, bytes] | None], *, silent: bool = False
) -> AsyncGenerator[WorkerEngine, None]:
    loop = asyncio.get_running_loop()
    server = await loop.create_unix_server(lambda: Impostor(answers, silent=silent), str(socket))
    engine = WorkerEngine(socket)
    try:
        yield engine
    finally:
        await engine.aclose()
        server.close()
        await asyncio.sleep(0.01)


async def test_another_version_is_told_in_plain_words(tmp_path: Path) -> None:
    info = (Kind.LAST, b"\x92\x02\xa3new")
    async with impostor(tmp_path / "s", {Kind.INFO: info}) as engine:
        with pytest.raises(EnvironmentFault, match="different versions"):
            await engine.start()


async def test_an_end_that_the_worker_does_not_explain_is_its_own(tmp_path: Path) -> None:
    for kind in (Kind.ANSWER, Kind.GENERATE):
        async with impostor(tmp_path / f"s{kind}", {kind: None}) as engine:
            await engine.start()
            with pytest.raises(WorkerLost):
                await answer(engine, question(stream=kind is Kind.GENERATE))
            with pytest.raises(WorkerLost):
                await engine.probe(1.0)


@pytest.mark.parametrize(
    "said",
    [
        (Kind.LAST, b"nonsense"),
        (Kind.CHUNK, b"nonsense"),
        (Kind.ERROR, b"nonsense"),
        (Kind.HEALTH, b""),
    ],
)
async def test_a_worker_that_talks_nonsense_is_not_the_clients_fault(
    tmp_path: Path, said: tuple[Kind, bytes]
) -> None:
    answers = dict.fromkeys((Kind.ANSWER, Kind.GENERATE), said)
    async with impostor(tmp_path / "s", answers) as engine:
        for stream in (True, False):
            await engine.start()
            with pytest.raises(InternalFault):
                await answer(engine, question(stream=stream))
            await engine.aclose()


async def test_a_health_that_makes_no_sense_is_a_lost_worker(tmp_path: Path) -> None:
    async with impostor(tmp_path / "s", {Kind.HEALTH: (Kind.LAST, b"nonsense")}) as engine:
        await engine.start()
        with pytest.raises(WorkerLost):
            await engine.probe(1.0)


async def test_a_worker_that_does_not_read_gets_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits to be sent to a stopped worker is bounded, however many requests come."""
    monkeypatch.setattr(client, "DEADLINE_SLACK_SECONDS", 0.1)
    deaf = []

    class Deaf(Impostor):
        def frame_received(self, kind: Kind, call: int, body: memoryview) -> None:
            super().frame_received(kind, call, body)
            if self._transport is not None:
                self._transport.pause_reading()
            deaf.append(self)

    loop = asyncio.get_running_loop()
    server = await loop.create_unix_server(lambda: Deaf({}), str(tmp_path / "s"))
    engine = WorkerEngine(tmp_path / "s")
    await engine.start()
    asked = request(user(0), images=(picture(width=2000, height=500),), timeout_seconds=0.3)
    outcomes = await asyncio.gather(
        *(answer(engine, asked) for _ in range(30)), return_exceptions=True
    )
    assert {type(each) for each in outcomes} == {DeadlineExceeded}
    connection = engine._connection
    assert connection is not None
    assert connection._transport is not None
    assert connection._transport.get_write_buffer_size() < 10_000_000
    await engine.aclose()
    server.close()
    for each in deaf:
        each.abort()
    await asyncio.sleep(0.01)


async def test_the_probe_brings_the_health(tmp_path: Path) -> None:
    async with far_fake(tmp_path / "s", token_seconds="1") as (near, engine):
        assert engine.health() == Health(0, 0, 0.0)
        reader = asyncio.create_task(answer(engine, question()))
        await eventually(lambda: near.health().running == 1)
        assert (await engine.probe(1.0)).running == 1
        assert engine.health().running == 1
        reader.cancel()
