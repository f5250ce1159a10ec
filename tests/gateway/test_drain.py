"""The end of a server: told in time, and no accepted request is lost by it."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import httpx2
import pytest
from fastapi import FastAPI

from silkline.config import ServerSettings
from silkline.gateway.server import GatewayServer
from silkline.service.lifecycle import Lifecycle
from tests.gateway.asking import asked
from tests.gateway.raw import Address, head, read_all, read_reply
from tests.serving import served

CHAT = "/v1/chat/completions"
JSON = {"content-type": "application/json"}
FAKE = ("--engine", "fake", "--cache-ttl", "0")
SLOW = (*FAKE, "--engine-options", "token_seconds=0.05,answer_words=30")
BODY = json.dumps(asked()).encode()


def until(true: Callable[[], bool]) -> None:
    """Waits for what comes soon, but late on a busy machine."""
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
def test_a_lame_duck_is_not_ready_and_answers_all_the_same() -> None:
    with served(*FAKE, "--lame-duck", "1.5") as running:
        with httpx2.Client(base_url=running.url) as old:
            assert old.get("/ready").status_code == 200
            assert "connection" not in old.get("/live").headers
            began = time.monotonic()
            running.process.send_signal(signal.SIGTERM)
            until(lambda: httpx2.get(f"{running.url}/ready").status_code == 503)
            reply = old.get("/ready")
            assert reply.json() == {"status": "draining"}
            assert reply.headers["connection"] == "close"
            while time.monotonic() - began < 1:
                asking = httpx2.post(f"{running.url}{CHAT}", content=BODY, headers=JSON)
                assert asking.status_code == 200
                assert asking.headers["connection"] == "close"
        assert running.process.wait(timeout=10) == 0
        assert time.monotonic() - began >= 1.5


@pytest.mark.slow
def test_a_second_signal_cuts_the_lame_duck_short() -> None:
    with served(*FAKE, "--lame-duck", "60") as running:
        running.process.send_signal(signal.SIGTERM)
        until(lambda: httpx2.get(f"{running.url}/ready").status_code == 503)
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(timeout=10) == 0


@pytest.mark.slow
def test_what_was_accepted_is_answered() -> None:
    """A request whose bytes come after the signal, on a connection that came before it."""
    with served(*SLOW) as running:
        address = running.host_and_port
        with (
            socket.create_connection(address, timeout=15) as half,
            socket.create_connection(address, timeout=15) as body,
            socket.create_connection(address, timeout=15) as late,
            socket.create_connection(address, timeout=15) as idle,
        ):
            idle.sendall(head("/live"))
            assert read_reply(idle).status == 200
            request = head(
                CHAT,
                "POST",
                [("host", "x"), *JSON.items(), ("content-length", str(len(BODY)))],
            )
            half.sendall(request[:20])
            body.sendall(request + BODY[:10])
            time.sleep(0.3)
            running.process.send_signal(signal.SIGTERM)
            assert read_all(idle) == b""
            half.sendall(request[20:] + BODY)
            late.sendall(request + BODY)
            body.sendall(BODY[10:])
            for connection in (half, body, late):
                reply = read_reply(connection)
                assert reply.status == 200
                assert reply.headers["connection"] == "close"
                assert read_all(connection) == b""
        assert running.process.wait(timeout=10) == 0


class Crowd:
    """Threads that ask until the server is gone; what became of each request."""

    def __init__(self, address: Address, *, keep: bool) -> None:
        self.outcomes: Counter[str] = Counter()
        self._address = address
        self._keep = keep
        self._threads = [threading.Thread(target=self._ask) for _ in range(8)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(timeout=30)
            assert not thread.is_alive()

    def _ask(self) -> None:
        gone = False
        connection = http.client.HTTPConnection(*self._address, timeout=20)
        while not gone:
            try:
                connection.request("POST", CHAT, BODY, JSON)
                reply = connection.getresponse()
                reply.read()
                self.outcomes[str(reply.status)] += 1
            except ConnectionRefusedError:
                gone = True
            except (OSError, http.client.HTTPException) as error:
                self.outcomes[type(error).__name__] += 1
                connection.close()
            if not self._keep:
                connection.close()
        connection.close()


@pytest.mark.slow
@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("attempt", [0, pytest.param(1, marks=pytest.mark.full)])
def test_nobody_is_reset_at_full_load(keep: bool, attempt: int) -> None:
    duck = "0.3" if keep else "0"  # long enough that no connection is idle at the end
    with served(*FAKE, "--lame-duck", duck) as running:
        crowd = Crowd(running.host_and_port, keep=keep)
        crowd.start()
        time.sleep(0.5 + attempt * 0.01)
        running.process.send_signal(signal.SIGTERM)
        crowd.join()
        assert running.process.wait(timeout=10) == 0
    assert set(crowd.outcomes) == {"200"}, crowd.outcomes
    assert crowd.outcomes["200"] > 20


@pytest.fixture
def hangups() -> Iterator[None]:
    """Hang-ups as a terminal's programs get them: under `nohup`, tests would hand down ignoring."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.slow
@pytest.mark.usefixtures("hangups")
def test_a_closed_terminal_loses_no_request() -> None:
    long = (*FAKE, "--engine-options", "token_seconds=0.05,answer_words=100")
    with served(*long) as running:
        with (
            socket.create_connection(running.host_and_port, timeout=60) as client,
            httpx2.Client(base_url=running.url, timeout=60) as watching,
        ):
            length = ("content-length", str(len(BODY)))
            client.sendall(head(CHAT, "POST", [*JSON.items(), length]) + BODY)
            running_one = 'silkline_queue_running{model="silkline-fake"} 1.0'
            until(lambda: running_one in watching.get("/metrics").text)
            running.process.send_signal(signal.SIGHUP)
            assert read_reply(client).status == 200
        assert running.process.wait(timeout=60) == 0


async def test_a_signal_before_it_listens_ends_it() -> None:
    lifecycle = Lifecycle()

    async def give_up() -> None:
        """Nothing runs."""

    server = GatewayServer(FastAPI(), ServerSettings(port=0), lifecycle, give_up)
    with server.capture_signals():
        signal.raise_signal(signal.SIGTERM)
    assert server.should_exit
    assert lifecycle.leaving
