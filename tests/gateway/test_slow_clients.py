"""Clients that take their time, come in crowds or do not stop: each is ended, others are served."""

from __future__ import annotations

import json
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import httpx2
import psutil
import pytest

from tests.gateway.asking import asked
from tests.gateway.raw import Address, exchange, head, read_all, read_reply
from tests.gateway.test_operations import metric
from tests.serving import Served, served

CHAT = "/v1/chat/completions"
HANG_SECONDS = 15.0
TIMEOUTS = ("--head-timeout", "1", "--body-timeout", "1", "--write-timeout", "2")
JSON = ("content-type", "application/json")
HOST = ("host", "x")


@pytest.fixture(scope="module")
def impatient() -> Iterator[Served]:
    """A server with short deadlines and room for 24 connections."""
    options = "answer_words=40000,context_length=100000"
    with served(
        "--engine", "fake", "--engine-options", options, "--max-answer-tokens", "100000",
        "--max-connections", "24", "--max-body-bytes", "2000000",
        "--max-held-body-bytes", "4000000", "--cache-ttl", "0", *TIMEOUTS,
    ) as running:  # fmt: skip
        yield running


@pytest.fixture
def address(impatient: Served) -> Address:
    return impatient.host_and_port


def connected(address: Address) -> socket.socket:
    return socket.create_connection(address, timeout=HANG_SECONDS)


def post(body: bytes, *more: tuple[str, str]) -> bytes:
    headers = [HOST, JSON, ("content-length", str(len(body))), *more]
    return head(CHAT, "POST", headers) + body


def whole() -> bytes:
    return post(json.dumps(asked(max_tokens=1)).encode())


def is_served(address: Address) -> bool:
    return exchange(address, whole()).status == 200


def test_a_connection_that_says_nothing_is_closed(address: Address) -> None:
    with connected(address) as silent:
        assert read_all(silent) == b""
    assert is_served(address)


@pytest.mark.parametrize("sent", [b"G", b"GET /live HTTP/1.1\r\n", head("/live")[:-2]])
def test_a_head_that_does_not_end_is_refused(address: Address, sent: bytes) -> None:
    with connected(address) as slow:
        slow.sendall(sent)
        reply = read_reply(slow)
        assert (reply.status, reply.code) == (408, "request_timeout")
        assert reply.headers["x-request-id"]
        assert reply.headers["connection"] == "close"
        assert read_all(slow) == b""


def test_a_head_in_drips_has_no_more_time_than_one_in_silence(address: Address) -> None:
    with connected(address) as slow:
        slow.sendall(head("/live")[:-2])
        slow.settimeout(0.1)
        began = time.monotonic()
        while True:
            assert time.monotonic() - began < HANG_SECONDS
            try:
                slow.sendall(b"x-a: b\r\n")
                received = slow.recv(1024)
            except TimeoutError:
                continue
            assert received.startswith(b"HTTP/1.1 408 ")
            return


def test_the_second_head_of_a_connection_has_a_deadline_too(address: Address) -> None:
    for start in (b"\r\n", b"GET /li"):
        with connected(address) as slow:
            slow.sendall(head("/live"))
            assert read_reply(slow).status == 200
            slow.sendall(start)
            rest = read_all(slow)
            assert rest == b"" if start == b"\r\n" else rest.startswith(b"HTTP/1.1 408 ")


@pytest.mark.slow
@pytest.mark.parametrize("piece", [b"", b" "])
def test_a_body_that_does_not_end_is_refused(address: Address, piece: bytes) -> None:
    with connected(address) as slow:
        slow.sendall(post(b"")[:-4].replace(b"length: 0", b"length: 900000") + b"\r\n\r\n{")
        slow.settimeout(0.1)
        began = time.monotonic()
        received = b""
        while not received.endswith(b"}"):  # head and body may come apart
            assert time.monotonic() - began < HANG_SECONDS
            try:
                if not received:
                    slow.sendall(piece)
                received += slow.recv(4096)
            except TimeoutError:
                continue
        assert received.startswith(b"HTTP/1.1 408 ")
        assert b"request_timeout" in received
        slow.settimeout(HANG_SECONDS)
        assert read_all(slow) == b""  # the rest of the body is not waited for


def test_a_body_that_keeps_the_least_rate_is_taken(address: Address) -> None:
    body = json.dumps(asked(max_tokens=1)).encode() + b" " * 40_000
    with connected(address) as slow:
        slow.sendall(post(body)[: -len(body)])
        for at in range(0, len(body), 4000):
            slow.sendall(body[at : at + 4000])
            time.sleep(0.2)  # 20 KB/s: longer in all than a silent body may take
        assert read_reply(slow).status == 200


def test_an_answer_before_the_end_of_a_body_ends_it(address: Address) -> None:
    with connected(address) as slow:
        slow.sendall(head("/none", "POST", [HOST, ("content-length", "900000")]))
        assert read_reply(slow).status == 404
        assert read_all(slow) == b""
    with connected(address) as quick:
        quick.sendall(head("/none", "POST", [HOST, ("content-length", "300000")]))
        quick.sendall(bytes(300_000))
        assert read_reply(quick).status == 404
        quick.sendall(head("/live"))  # the rest came soon enough, so the connection serves on
        assert read_reply(quick).status == 200


@pytest.mark.parametrize(
    ("line", "times"), [(b"x-a: b\r\n", 60_000), (b"x-a: " + b"b" * 500_000, 1)]
)
def test_an_endless_head_is_cut(address: Address, line: bytes, times: int) -> None:
    with connected(address) as client:
        received = b""
        try:
            client.sendall(head("/live")[:-2] + line * times)
            received = read_all(client)
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert received[:13] in {b"HTTP/1.1 431 ", b""}
    assert is_served(address)


@pytest.mark.parametrize(
    "flood",
    [
        b"1\r\nx\r\n" * 100_000,
        b"1;" + b"e" * 3_000_000 + b"\r\nx\r\n",
        b"1\r\n{\r\n0\r\n" + b"x-a: b\r\n" * 400_000,
        b"0\r\nx-a: " + b"b" * 3_000_000,
    ],
)
def test_a_flood_within_a_chunked_body_is_cut(
    impatient: Served, address: Address, flood: bytes
) -> None:
    before = psutil.Process(impatient.process.pid).memory_info().rss
    with connected(address) as client:
        try:
            client.sendall(head(CHAT, "POST", [HOST, JSON, ("transfer-encoding", "chunked")]))
            client.sendall(flood)
            received = read_all(client)
        except (BrokenPipeError, ConnectionResetError):
            received = b""
        assert received[:13] in {b"HTTP/1.1 400 ", b""}
    assert is_served(address)
    assert psutil.Process(impatient.process.pid).memory_info().rss - before < 50 * 2**20


def test_trailers_are_no_headers(address: Address) -> None:
    body = json.dumps(asked(max_tokens=1)).encode()
    chunked = head(CHAT, "POST", [HOST, JSON, ("transfer-encoding", "chunked")])
    chunked += b"%x\r\n%b\r\n0\r\ncache-control: no-store\r\nx-request-id: later\r\n\r\n"
    reply = exchange(address, chunked % (len(body), body))
    assert reply.status == 200
    assert reply.headers["x-request-id"] != "later"


def test_requests_sent_ahead_are_not_taken(address: Address) -> None:
    with connected(address) as client:
        client.sendall(whole() + head("/live") * 100)
        reply = read_reply(client)
        assert reply.status == 200
        assert reply.headers["connection"] == "close"
        assert read_all(client) == b""


def padded(size: int) -> bytes:
    """A request that is answered, with a body of a size."""
    return post(json.dumps(asked(max_tokens=1)).encode().ljust(size))


def test_announced_lengths_lock_nobody_out(address: Address) -> None:
    """Sixteen clients announce 30 MB where 4 MB are held, and send next to nothing of it."""
    announced = head(CHAT, "POST", [HOST, JSON, ("content-length", "1900000")])
    with ExitStack() as stack:
        crowd = [stack.enter_context(connected(address)) for _ in range(16)]
        for client in crowd:
            client.sendall(announced + b"{")
        time.sleep(0.2)
        assert exchange(address, padded(1_900_000)).status == 200
        for client in crowd:
            client.settimeout(0)
            with pytest.raises(BlockingIOError):
                client.recv(1)


def test_bodies_hold_no_more_than_their_bytes_together(address: Address) -> None:
    request = padded(1_900_000)
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(connected(address)).sendall(request[:-1])
        time.sleep(0.2)
        with connected(address) as third:
            third.sendall(request[:1_000_000])
            reply = read_reply(third)
        assert (reply.status, reply.code) == (503, "overloaded")
        assert int(reply.headers["retry-after"]) >= 1
        assert is_served(address)
    deadline = time.monotonic() + HANG_SECONDS
    while exchange(address, request).status != 200:  # those who left hold nothing
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_crowd_that_waits_gives_way_to_those_who_ask(impatient: Served, address: Address) -> None:
    process = psutil.Process(impatient.process.pid)
    before = process.num_fds()
    with ExitStack() as stack:
        crowd = [stack.enter_context(connected(address)) for _ in range(72)]
        for place, client in enumerate(crowd):
            client.sendall((b"G", b"", head("/live"))[place % 3])
            if place % 6 == 0:
                assert is_served(address)
                assert process.num_fds() - before < 24 + 6
    assert is_served(address)


def test_a_crowd_of_slow_bodies_gives_way_too(address: Address) -> None:
    announced = head(CHAT, "POST", [HOST, JSON, ("content-length", "9000")]) + b"{"
    with ExitStack() as stack:
        crowd = [stack.enter_context(connected(address)) for _ in range(72)]
        for place, client in enumerate(crowd):
            client.sendall(announced)
            if place % 6 == 0:
                assert is_served(address)
    assert is_served(address)


def test_one_too_many_is_refused_where_all_are_being_answered(address: Address) -> None:
    body = json.dumps(asked(stream=True, max_tokens=90_000)).encode()
    with ExitStack() as stack:
        for _ in range(24):
            stack.enter_context(connected(address)).sendall(post(body))
        time.sleep(0.5)
        with connected(address) as late:
            reply = read_reply(late)
            assert (reply.status, reply.code) == (503, "overloaded")
            assert read_all(late) == b""
    with httpx2.Client(base_url=f"http://{address[0]}:{address[1]}") as http:
        wait_for_slots(http)


def wait_for_slots(http: httpx2.Client) -> None:
    deadline = time.monotonic() + HANG_SECONDS
    while metric(http, "silkline_open_requests") > 1:
        assert time.monotonic() < deadline, "slots are still taken"
        time.sleep(0.1)


@pytest.mark.slow
def test_readers_that_stop_are_cut_and_hold_little_memory(
    impatient: Served, address: Address
) -> None:
    body = json.dumps(asked(stream=True, max_tokens=90_000)).encode()
    process = psutil.Process(impatient.process.pid)
    before = process.memory_info().rss
    with ExitStack() as stack, httpx2.Client(base_url=impatient.url) as http:
        cut = metric(http, "silkline_connections_ended_total", reason="slow_reader")
        readers = [stack.enter_context(connected(address)) for _ in range(4)]
        for reader in readers:
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.sendall(post(body))
        deadline = time.monotonic() + 2 * HANG_SECONDS
        while metric(http, "silkline_connections_ended_total", reason="slow_reader") < cut + 4:
            assert process.memory_info().rss - before < 24 * 2**20
            assert time.monotonic() < deadline, "not all were cut"
            time.sleep(0.2)
        wait_for_slots(http)


@pytest.mark.slow
def test_a_server_out_of_files_recovers() -> None:
    with served("--engine", "fake", "--head-timeout", "60") as running:
        process = psutil.Process(running.process.pid)
        address = running.host_and_port
        # Its idle connection was there before, so that it can tell of itself all the while.
        with ExitStack() as stack, httpx2.Client(base_url=running.url) as http:
            assert http.get("/live").status_code == 200
            limit = process.num_fds() + 10
            resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, (limit, limit))
            for _ in range(60):
                stack.enter_context(connected(address))
            time.sleep(0.5)
            assert http.get("/live").status_code == 200
            before = process.cpu_times()
            time.sleep(1)
            after = process.cpu_times()
            assert after.user + after.system - before.user - before.system < 0.5, "it spins"
        deadline = time.monotonic() + HANG_SECONDS
        while True:
            try:
                if exchange(address, whole()).status == 200:
                    break
            except (AssertionError, ConnectionError):
                assert time.monotonic() < deadline, "it takes no connections any more"
                time.sleep(0.2)
