"""HTTP as remote servers speak it: what is read, what is a loss, and which connection is reused."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from silkline.engines.remote.link import RemoteLink
from silkline.errors import WorkerLost

OK = b"HTTP/1.1 200 OK\r\n"
WHOLE = OK + b"content-length: 2\r\n\r\nok"


class Server:
    """Answers each request of a connection with the next of its answers; an empty one closes it."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.connections = 0
        self.heads: list[bytes] = []
        self.sent = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while self.answers:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                if head.startswith(b"POST"):
                    await reader.readexactly(2)
                answer = self.answers.pop(0)
                if not answer:
                    return
                for start in range(0, len(answer), 65_536):
                    chunk = answer[start : start + 65_536]
                    writer.write(chunk)
                    await writer.drain()
                    self.sent += len(chunk)
                if b"connection: close" in answer or b"content-length" not in answer:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def linked(server: Server) -> AsyncGenerator[RemoteLink, None]:
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    link = RemoteLink(f"http://127.0.0.1:{port}/models", "sk-1", timeout=5.0)
    link.open()
    try:
        yield link
    finally:
        await link.aclose()
        listening.close()


async def post(link: RemoteLink) -> bytes:
    deadline = asyncio.get_running_loop().time() + 5
    async with link.post("/v1", b"{}", deadline, {"accept": "x/y"}) as reply:
        body = b""
        while chunk := await reply.read():
            body += chunk
        return body


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (WHOLE, b"ok"),
        (OK + b"\r\nuntil the end", b"until the end"),
        (OK + b"transfer-encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", b"abc"),
        (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + WHOLE,
            b"ok",
        ),
        (OK + b"content-length: 0\r\n\r\n", b""),
        (OK + b"content-length: 3000000\r\n\r\n" + b"x" * 3_000_000, b"x" * 3_000_000),
    ],
    ids=["length", "until close", "chunks", "interim", "empty", "large"],
)
async def test_bodies_of_all_kinds(answer: bytes, body: bytes) -> None:
    async with linked(Server(answer)) as link:
        assert await post(link) == body


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"content-length: 9\r\nconnection: close\r\n\r\nshort",
        OK + b"transfer-encoding: chunked\r\n\r\n5\r\nab",
        OK + b"transfer-encoding: chunked\r\n\r\nzz\r\nab",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        OK + b"x-long: " + b"a" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
        OK + b"content-length: 2\r\ncontent-encoding: gzip\r\n\r\nok",
        b"",
    ],
    ids=["short", "cut", "bad chunk", "not HTTP", "large head", "upgrade", "gzip", "nothing"],
)
async def test_what_is_no_whole_answer_is_a_loss(answer: bytes) -> None:
    async with linked(Server(answer)) as link:
        with pytest.raises(WorkerLost):
            await post(link)


async def test_a_connection_is_used_again_unless_the_server_closes_it() -> None:
    closing = OK + b"content-length: 2\r\nconnection: close\r\n\r\nok"
    server = Server(WHOLE, WHOLE, closing, WHOLE)
    async with linked(server) as link:
        assert [await post(link) for _ in range(4)] == [b"ok"] * 4
    assert server.connections == 2
    head = server.heads[0].lower()
    assert head.startswith(b"post /models/v1 http/1.1\r\n")
    assert b"\r\nauthorization: bearer sk-1\r\n" in head
    assert b"\r\naccept: x/y\r\n" in head
    assert b"\r\ncontent-length: 2\r\n" in head


async def test_bytes_that_were_not_requested_end_the_connection() -> None:
    server = Server(WHOLE + WHOLE, WHOLE)
    async with linked(server) as link:
        assert await post(link) == b"ok"
        assert await post(link) == b"ok"
    assert server.connections == 2


async def test_an_answer_that_is_not_read_ends_the_connection_and_makes_its_server_wait() -> None:
    size = 50_000_000
    server = Server(OK + b"content-length: %d\r\n\r\n" % size + b"x" * size, WHOLE)
    async with linked(server) as link:
        deadline = asyncio.get_running_loop().time() + 5
        async with link.post("/v1", b"{}", deadline, {}) as reply:
            assert reply.status == 200
            await asyncio.sleep(0.3)
        assert server.sent < size / 2
        assert await post(link) == b"ok"
    assert server.connections == 2


async def test_only_a_probe_is_sent_twice_when_its_server_closes_an_idle_connection() -> None:
    server = Server(WHOLE, b"", WHOLE, b"")
    async with linked(server) as link:
        assert await post(link) == b"ok"
        assert await link.get("/health", 5) == (200, b"ok")
        assert server.connections == 2
        with pytest.raises(WorkerLost):
            await post(link)


async def test_no_header_has_a_line_break() -> None:
    async with linked(Server(WHOLE)) as link:
        with pytest.raises(ValueError, match="line break"):
            async with link.post("/v1", b"{}", 1e9, {"x": "a\r\nhost: b"}):
                pass
