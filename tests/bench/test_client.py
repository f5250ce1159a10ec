from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httptools
import pytest

from silkline.bench.client import HttpClient, Response

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Silkline-Cache: hit\r\n%s\r\nhello"
REQUEST = [b"GET / HTTP/1.1\r\nhost: a\r\n", b"\r\n"]

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(talk: Talk) -> AsyncIterator[str]:
    """A server that speaks as `talk` does, once for each connection, and then hangs up."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"


def saying(*pieces: bytes, times: int = 1) -> Talk:
    """Answers so many requests of a connection with these pieces."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(times):
            await reader.readuntil(b"\r\n\r\n")
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(0.001)

    return talk


async def asked(client: HttpClient) -> Response:
    response = Response()
    await client.exchange(REQUEST, response)
    return response


async def test_a_connection_is_used_again() -> None:
    async with server(saying(ANSWER % b"", times=9)) as url:
        client = HttpClient(url, 4)
        for _ in range(3):
            response = await asked(client)
            assert (response.status, response.body) == (200, b"hello")
            assert response.headers[b"x-silkline-cache"] == b"hit"
            assert 0 < response.sent <= response.first_byte
        assert client.opened == 1
        client.close()


async def test_an_answer_may_come_byte_by_byte() -> None:
    pieces = [bytes([byte]) for byte in ANSWER % b""]
    async with server(saying(*pieces)) as url:
        client = HttpClient(url, 1)
        assert (await asked(client)).body == b"hello"
        client.close()


async def test_a_connection_that_the_server_closes_is_not_used_again() -> None:
    async with server(saying(ANSWER % b"Connection: close\r\n", times=9)) as url:
        client = HttpClient(url, 4)
        for _ in range(3):
            assert (await asked(client)).status == 200
        assert client.opened == 3


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"", ConnectionResetError),
        (ANSWER[:40], ConnectionResetError),
        ((ANSWER % b"")[:-2], ConnectionResetError),
        (b"220 mail.example ESMTP\r\n", httptools.HttpParserError),
    ],
)
async def test_what_is_no_answer_is_an_error(said: bytes, error: type[Exception]) -> None:
    async with server(saying(said)) as url:
        client = HttpClient(url, 1)
        with pytest.raises(error):
            await asked(client)
        assert not client.full


async def test_a_request_that_is_given_up_leaves_its_place() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with server(silent) as url:
        client = HttpClient(url, 1)
        for _ in range(2):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asked(client), 0.05)
        assert client.opened == 2
        assert not client.full
