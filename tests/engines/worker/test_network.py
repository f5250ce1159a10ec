"""A worker on a port: the same contract as on a Unix socket, behind a secret."""

import asyncio
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from silkline.engines.base import Engine, EngineOptions
from silkline.engines.registry import create_engine
from silkline.engines.worker import server as worker_server
from silkline.engines.worker.address import NetworkAddress, parse_address
from silkline.engines.worker.client import WorkerEngine
from silkline.engines.worker.frames import Kind
from silkline.engines.worker.server import WorkerServer
from silkline.errors import WorkerLost
from tests.engines.asking import answer, question
from tests.engines.conformance import Conformance

SECRET = "s" * 32


@asynccontextmanager
async def listening() -> AsyncGenerator[NetworkAddress, None]:
    """A fake engine on a free port of loopback."""
    near = create_engine("fake", EngineOptions())
    await near.start()
    server = WorkerServer(near, NetworkAddress("127.0.0.1", 0, SECRET))
    await server.start()
    address = server.address
    assert isinstance(address, NetworkAddress)
    try:
        yield address
    finally:
        await server.stop(0)
        await near.aclose()


class TestOverTheNetwork(Conformance):
    @pytest.fixture
    async def engine(self) -> AsyncGenerator[Engine, None]:
        async with listening() as address:
            engine = WorkerEngine(address)
            await engine.start()
            yield engine
            await engine.aclose()


def test_an_address_survives_being_written() -> None:
    address = NetworkAddress("node-2.example", 40123, SECRET)
    assert parse_address(str(address)) == address
    assert SECRET not in repr(address)


async def test_another_secret_gets_no_answer() -> None:
    async with listening() as address:
        with pytest.raises(WorkerLost):
            await WorkerEngine(replace(address, secret="t" * 32)).start()
        right = WorkerEngine(address)
        await right.start()
        assert (await answer(right, question())).text
        await right.aclose()


@pytest.mark.parametrize(
    "sent",
    [
        struct.pack("<IBI", 0, Kind.INFO, 1),
        struct.pack("<IBI", 3, Kind.HELLO, 0) + b"sss",
        struct.pack("<IBI", 0, Kind.HELLO, 0),
        struct.pack("<IBI", 200 * 2**20, Kind.HELLO, 0),
        struct.pack("<IBI", 200 * 2**20, Kind.GENERATE, 0),
        b"GET / HTTP/1.1\r\nhost: here\r\n\r\n",
    ],
)
async def test_who_does_not_begin_with_the_secret_is_cut_off(sent: bytes) -> None:
    async with listening() as address:
        assert await until_cut_off(address, sent) == b""


async def test_who_sends_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_server, "HELLO_SECONDS", 0.05)
    async with listening() as address:
        assert await until_cut_off(address, b"") == b""


async def until_cut_off(address: NetworkAddress, sent: bytes) -> bytes:
    """What a caller reads until the worker closes the connection."""
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(sent)
    try:
        async with asyncio.timeout(10):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()
