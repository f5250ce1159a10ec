"""Case 28: requests whose length two servers could read in two ways, sent through nginx."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.campaign.nginx import Upstream, nginx
from tests.campaign.standing import assert_no_defects
from tests.serving import Served, served

SMUGGLED = b"GET /smuggled-%s HTTP/1.1\r\nhost: x\r\n\r\n"
ALIVE = b"GET /live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
HEAD = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"

AMBIGUOUS = {
    "length and chunks": HEAD + b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": HEAD + b"transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n",
    "two lengths": HEAD + b"content-length: 0\r\ncontent-length: 44\r\n\r\n",
    "a list of lengths": HEAD + b"content-length: 0, 44\r\n\r\n",
    "a signed length": HEAD + b"content-length: +0\r\n\r\n",
    "a strange coding": HEAD + b"transfer-encoding: xchunked\r\ncontent-length: 0\r\n\r\n",
    "coding before a space": HEAD + b"transfer-encoding : chunked\r\n\r\n0\r\n\r\n",
    "coding on a folded line": HEAD + b"transfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "a size that is too long": HEAD
    + b"transfer-encoding: chunked\r\n\r\n" + b"0" * 40 + b"1\r\nx\r\n0\r\n\r\n",
    "a size with a minus": HEAD + b"transfer-encoding: chunked\r\n\r\n-1\r\n\r\n",
    "a chunk without its end": HEAD + b"transfer-encoding: chunked\r\n\r\n1\r\nxy\r\n0\r\n\r\n",
    "bare line feeds": HEAD.replace(b"\r\n", b"\n") + b"transfer-encoding: chunked\n\n0\n\n",
}  # fmt: skip


@pytest.fixture(scope="module")
def gateway() -> Iterator[Served]:
    with served("--engine", "fake") as running:
        yield running
    assert_no_defects(running)


@pytest.fixture
async def front(gateway: Served, tmp_path: Path) -> AsyncIterator[int]:
    with nginx(tmp_path, [Upstream(gateway.host_and_port[1])]) as port:
        yield port


async def told(port: int, sent: bytes) -> list[int]:
    """The statuses of what comes back until the connection ends or is silent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    received = b""
    try:
        async with asyncio.timeout(1.5):
            while data := await reader.read(65536):
                received += data
    except (TimeoutError, ConnectionResetError):
        pass
    finally:
        writer.transport.abort()
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]


@pytest.mark.parametrize("name", AMBIGUOUS)
@pytest.mark.parametrize("through", ["nginx", "directly"])
async def test_an_ambiguous_length_is_refused(
    gateway: Served, front: int, name: str, through: str
) -> None:
    """It is refused, or read as the RFC says: what follows is never another's request."""
    port = front if through == "nginx" else gateway.host_and_port[1]
    mark = f"{through}-{name}".replace(" ", "-")
    refused = await told(port, AMBIGUOUS[name] + SMUGGLED % mark.encode())
    assert all(400 <= status < 500 or status == 501 for status in refused), refused
    seen = [event for event in gateway.events("request") if mark in str(event["url.path"])]
    assert not seen or (len(refused) == 2 and refused[1] == 404), (refused, seen)
    assert await told(port, ALIVE) == [200]
