"""The fault proxy does to connections what it is told."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from tests.campaign.fault_proxy import Ending, FaultProxy, Toxics, fault_proxy

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(4096):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        return
    finally:
        writer.close()


@pytest.fixture
async def proxy() -> AsyncIterator[FaultProxy]:
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with fault_proxy(server.sockets[0].getsockname()[1], seed=1) as made:
        yield made
    server.close()


async def connect(proxy: FaultProxy) -> Connection:
    return await asyncio.open_connection("127.0.0.1", proxy.port)


async def said(connection: Connection, data: bytes) -> bytes:
    connection[1].write(data)
    return await asyncio.wait_for(connection[0].readexactly(len(data)), 10)


async def test_without_toxics_it_carries_all(proxy: FaultProxy) -> None:
    connection = await connect(proxy)
    data = bytes(range(256)) * 1000
    assert await said(connection, data) == data
    connection[1].write_eof()
    assert await connection[0].read() == b""
    assert not proxy.cut
    connection[1].close()


async def test_latency_bandwidth_and_slices_only_delay(proxy: FaultProxy) -> None:
    connection = await connect(proxy)
    assert await said(connection, b"warm")
    proxy.down = Toxics(latency_seconds=0.1, jitter_seconds=0.01)
    proxy.up = Toxics(slice_bytes=7, bytes_per_second=2000)
    began = time.monotonic()
    assert await said(connection, b"x" * 200) == b"x" * 200
    assert time.monotonic() - began >= 0.2
    connection[1].close()


async def test_a_black_hole_opens_again(proxy: FaultProxy) -> None:
    connection = await connect(proxy)
    proxy.up = Toxics(black_hole=True)
    connection[1].write(b"held")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(connection[0].read(4), 0.2)
    proxy.up = Toxics()
    assert await asyncio.wait_for(connection[0].readexactly(4), 10) == b"held"
    connection[1].close()


@pytest.mark.parametrize("ending", [Ending.CLOSE, Ending.HALF_CLOSE])
async def test_a_limit_lets_so_many_bytes_through(proxy: FaultProxy, ending: Ending) -> None:
    proxy.down = Toxics(limit_bytes=5, ending=ending)
    reader, writer = await connect(proxy)
    writer.write(b"0123456789")
    assert await asyncio.wait_for(reader.read(), 10) == b"01234"
    assert writer.get_extra_info("sockname")[1] in proxy.cut
    writer.close()


async def test_a_reset_is_a_reset(proxy: FaultProxy) -> None:
    reader, writer = await connect(proxy)
    assert await said((reader, writer), b"hello")
    proxy.reset_all()
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(reader.read(), 10)
    assert proxy.cut == {writer.get_extra_info("sockname")[1]}
    writer.close()


async def test_a_limit_may_end_in_a_reset(proxy: FaultProxy) -> None:
    proxy.up = Toxics(limit_bytes=0, ending=Ending.RESET)
    reader, writer = await connect(proxy)
    writer.write(b"x")
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(reader.read(), 10)
    writer.close()


async def test_the_end_of_a_stream_may_be_late(proxy: FaultProxy) -> None:
    connection = await connect(proxy)
    assert await said(connection, b"x")
    proxy.down = Toxics(close_delay_seconds=0.2)
    began = time.monotonic()
    connection[1].write_eof()
    assert await asyncio.wait_for(connection[0].read(), 10) == b""
    assert time.monotonic() - began >= 0.2
    connection[1].close()
