"""The way to a remote server, once it is closed, and where many go it at the same time."""

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvloop

from silkline.engines.remote import connections
from silkline.engines.remote.link import RemoteLink
from silkline.errors import DeadlineExceeded, WorkerLost
from tests.engines.openai_server import STREAM_HEAD, event, openai_server, scripted

Answers = list[bytes | BaseException]
Run = Callable[[Coroutine[None, None, Answers]], Answers]


async def test_reading_on_after_the_end_is_lost_at_once() -> None:
    script = scripted(STREAM_HEAD, event("first"), 60.0)
    async with openai_server(script) as server:
        link = RemoteLink(server.url, None, timeout=60.0)
        link.open()
        deadline = asyncio.get_running_loop().time() + 60
        async with link.post("/v1/chat/completions", b"{}", deadline, {}) as reply:
            assert b"first" in await reply.read()
            await link.aclose()
            with pytest.raises(WorkerLost, match="no longer used"):
                async with asyncio.timeout(5):
                    await reply.read()


async def test_a_server_that_always_has_more_is_read_until_the_deadline_only() -> None:
    script = scripted(STREAM_HEAD, event("first"), 0.02, event("second"), 60.0)
    async with openai_server(script) as server:
        link = RemoteLink(server.url, None, timeout=60.0)
        link.open()
        deadline = asyncio.get_running_loop().time() + 0.5
        async with link.post("/v1/chat/completions", b"{}", deadline, {}) as reply:
            assert b"first" in await reply.read()
            await asyncio.sleep(0.6)
            with pytest.raises(DeadlineExceeded):
                await reply.read()
        await link.aclose()


@contextmanager
def narrow_server(path: Path, waits: float) -> Iterator[list[bytes]]:
    """Takes connections one by one after a while, queues eight more; gives the requests' bodies.

    As llama-server does with 512, whose one thread accepts.
    """
    bodies: list[bytes] = []
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(7)
    closing = threading.Event()

    def serve() -> None:
        closing.wait(waits)
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                received = b""
                while b"\r\n\r\n" not in received or not received.endswith(b"}"):
                    received += connection.recv(65_536)
                bodies.append(received.partition(b"\r\n\r\n")[2])
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield bodies
    finally:
        closing.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


async def ask_all(path: Path, count: int) -> Answers:
    link = RemoteLink("http://localhost", None, timeout=60.0, socket=path)
    link.open()
    deadline = asyncio.get_running_loop().time() + 30

    async def ask(number: int) -> bytes:
        async with link.post("/v1", b"{%d}" % number, deadline, {}) as reply:
            return await reply.read()

    try:
        return await asyncio.gather(*map(ask, range(count)), return_exceptions=True)
    finally:
        await link.aclose()


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_more_at_once_than_a_unix_socket_queues(tmp_path: Path, run: Run) -> None:
    """All are answered, and none is sent twice; each loop tells of a full queue in its own way."""
    with narrow_server(tmp_path / "s", waits=0.1) as bodies:
        answers = run(ask_all(tmp_path / "s", 40))
    assert answers == [b"ok"] * 40
    assert sorted(bodies) == sorted(b"{%d}" % number for number in range(40))


def test_a_queue_that_stays_full_is_a_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "CONNECT_SECONDS", 0.2)
    with narrow_server(tmp_path / "s", waits=1.0):
        answers = asyncio.run(ask_all(tmp_path / "s", 10))
    assert sum(isinstance(answer, WorkerLost) for answer in answers) >= 2


async def test_a_socket_that_nobody_listens_on_is_a_loss(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "bound"))
    for name in ("bound", "none"):
        (answer,) = await ask_all(tmp_path / name, 1)
        assert isinstance(answer, WorkerLost)
