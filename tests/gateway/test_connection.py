"""What comes on a connection that is no request, or two at once: one answer each, in one form."""

from __future__ import annotations

import asyncio
import json
import socket
import time

import psutil
import pytest

from silkline.config import ServerSettings
from silkline.gateway import connection
from silkline.service.lifecycle import Lifecycle
from tests.gateway.asking import asked
from tests.gateway.raw import exchange, head, read_all, read_reply
from tests.serving import Served

CHAT = "/v1/chat/completions"
POST = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n"

NO_REQUESTS = {
    "a word": b"hello\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a proxy's request": b"CONNECT example.com:443 HTTP/1.1\r\nhost: example.com:443\r\n\r\n",
    "a tunnel with a body": b"CONNECT x:1 HTTP/1.1\r\nhost: x:1\r\ncontent-length: 38\r\n\r\n"
    + SMUGGLED,
    "a path that is not ASCII": b"GET /\xff HTTP/1.1\r\nhost: x\r\n\r\n",
    "a control character": b"GET / HTTP/1.1\r\nhost: x\r\nx-a: \x01\r\n\r\n",
    "a folded header": b"GET / HTTP/1.1\r\nhost: x\r\nx-a: b\r\n c\r\n\r\n",
    "length and chunks": POST
    + b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
    + SMUGGLED,
    "chunks and length": POST
    + b"transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n"
    + SMUGGLED,
    "an upgrade, length and chunks": POST
    + b"connection: upgrade\r\nupgrade: h2c\r\n"
    + b"transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n"
    + SMUGGLED,
    "two lengths": POST + b"content-length: 0\r\ncontent-length: 44\r\n\r\n" + SMUGGLED,
    "two codings": POST
    + b"transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n"
    + SMUGGLED,
    "a length that is none": POST + b"content-length: 99999999999999999999\r\n\r\n",
    "a broken chunk": POST + b"transfer-encoding: chunked\r\n\r\nzz\r\n\r\n" + SMUGGLED,
}


@pytest.mark.parametrize("kind", NO_REQUESTS)
def test_what_is_no_request_gets_the_one_form_of_error(gateway: Served, kind: str) -> None:
    with socket.create_connection(gateway.host_and_port, timeout=10) as client:
        client.sendall(NO_REQUESTS[kind])
        reply = read_reply(client)
        assert (reply.status, reply.code) == (400, "invalid_request")
        assert reply.headers["x-request-id"]
        assert reply.headers["connection"] == "close"
        assert read_all(client) == b"", "something was taken as a second request"
    assert not [event for event in gateway.events("request") if event["url.path"] == "/smuggled"]
    assert exchange(gateway.host_and_port, head("/live")).status == 200


def test_garbage_behind_a_request_does_not_touch_its_answer(gateway: Served) -> None:
    with socket.create_connection(gateway.host_and_port, timeout=10) as client:
        client.sendall(head("/live") + b"\x00garbage\r\n\r\n" + SMUGGLED)
        assert read_reply(client).status == 200
        assert read_all(client) == b""


def test_an_upgrade_is_answered_as_if_it_were_not_asked_for(gateway: Served) -> None:
    headers = [("host", "x"), ("connection", "upgrade"), ("upgrade", "websocket")]
    assert exchange(gateway.host_and_port, head("/live", headers=headers)).status == 200


UPGRADES = {
    "h2c": [("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c"), ("http2-settings", "")],
    "websocket": [("connection", "upgrade"), ("upgrade", "websocket")],
    "two": [("connection", "upgrade"), ("upgrade", "h2c"), ("upgrade", "websocket")],
}


@pytest.mark.parametrize("asked_for", UPGRADES)
@pytest.mark.parametrize("pieces", [1, 2, 3])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_with_an_upgrade_is_taken(
    gateway: Served, asked_for: str, pieces: int, chunked: bool
) -> None:
    """As Java's HttpClient and `curl --http2` send it."""
    body = json.dumps(asked(max_tokens=1)).encode()
    framing = ("transfer-encoding", "chunked") if chunked else ("content-length", str(len(body)))
    headers = [("host", "x"), ("content-type", "application/json"), *UPGRADES[asked_for], framing]
    start = head(CHAT, "POST", headers)
    sent = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body
    parts = {
        1: [start + sent],
        2: [start, sent],
        3: [start[:-30], start[-30:] + sent[:20], sent[20:]],
    }[pieces]
    with socket.create_connection(gateway.host_and_port, timeout=10) as client:
        for part in parts:
            client.sendall(part)
            time.sleep(0.02)
        assert read_reply(client).status == 200
        client.sendall(head("/live"))
        assert read_reply(client).status == 200


@pytest.mark.parametrize("together", [True, False])
def test_a_body_with_an_upgrade_is_no_request(gateway: Served, together: bool) -> None:
    headers = [("host", "x"), ("content-type", "application/json"), *UPGRADES["h2c"]]
    start = head("/predict", "POST", [*headers, ("content-length", str(len(SMUGGLED)))])
    with socket.create_connection(gateway.host_and_port, timeout=10) as client:
        for part in [start + SMUGGLED] if together else [start, SMUGGLED]:
            client.sendall(part)
            time.sleep(0.05)
        assert read_reply(client).status in {400, 415}
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(1)
    assert not [event for event in gateway.events("request") if event["url.path"] == "/smuggled"]


def test_an_upgrade_on_the_last_request_of_a_connection_is_ignored(gateway: Served) -> None:
    headers = [("host", "x"), ("connection", "close, upgrade"), ("upgrade", "h2c")]
    with socket.create_connection(gateway.host_and_port, timeout=10) as client:
        client.sendall(head("/live", headers=headers))
        assert read_reply(client).status == 200
        assert read_all(client) == b""


def test_a_connection_serves_many_requests(gateway: Served) -> None:
    body = json.dumps(asked(max_tokens=1)).encode()
    post = head(
        CHAT,
        "POST",
        [("host", "x"), ("content-type", "application/json"), ("content-length", str(len(body)))],
    )
    with socket.create_connection(gateway.host_and_port, timeout=10) as client:
        for _ in range(5):
            client.sendall(post[:30])
            client.sendall(post[30:] + body[:10])
            client.sendall(body[10:])
            assert read_reply(client).status == 200
            client.sendall(head("/live", "HEAD"))
            assert read_reply(client, method="HEAD").status == 200


PART = b'--b\r\ncontent-disposition: form-data; name="f"\r\n\r\nx\r\n'
MULTIPART = "multipart/form-data; boundary=b"
FLOODS = {
    "parts": (MULTIPART, PART * 30_000 + b"--b--\r\n"),
    "files": (MULTIPART, PART.replace(b'"f"', b'"image"; filename="a"') * 20_000 + b"--b--\r\n"),
    "a part's headers": (MULTIPART, b"--b\r\n" + b"x-a: b\r\n" * 200_000 + b"\r\n"),
    "a part's name": (
        MULTIPART,
        PART.replace(b'"f"', b'"' + b"f" * 1_500_000 + b'"') + b"--b--\r\n",
    ),
    "no boundary in sight": (MULTIPART, b"x" * 1_900_000),
    "dashes": (MULTIPART, b"--" * 900_000),
    "no boundary": ("multipart/form-data", b"x" * 1000),
    "fields": ("application/x-www-form-urlencoded", b"a=b&" * 400_000),
}


@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_in_a_form_is_refused_at_little_cost(gateway: Served, kind: str) -> None:
    media_type, body = FLOODS[kind]
    process = psutil.Process(gateway.process.pid)
    before = process.memory_info().rss
    headers = [("host", "x"), ("content-type", media_type), ("content-length", str(len(body)))]
    began = time.monotonic()
    reply = exchange(gateway.host_and_port, head("/predict", "POST", headers) + body)
    assert reply.status in {400, 413}
    assert reply.code in {"invalid_request", "request_too_large"}
    assert time.monotonic() - began < 10
    assert process.memory_info().rss - before < 50 * 2**20


def test_a_client_of_http_1_0_gets_a_stream_without_chunks(gateway: Served) -> None:
    # RFC 9112, 6.1: a client of HTTP/1.0 cannot be sent a transfer coding.
    body = json.dumps(asked("", stream=True)).encode()
    request = head(
        CHAT,
        "POST",
        [("content-type", "application/json"), ("content-length", str(len(body)))],
    ).replace(b"HTTP/1.1", b"HTTP/1.0")
    with socket.create_connection(gateway.host_and_port, timeout=10) as client:
        client.sendall(request + body)
        start, _, events = read_all(client).partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in start.lower()
    assert events.startswith(b"data: {")
    assert events.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("length", [99, 3_000_000])
def test_a_client_that_is_not_asked_for_its_body_learns_that_it_need_not_come(
    gateway: Served, length: int
) -> None:
    """It would take the connection for free, and its next request would pass for the body."""
    wanted = f"expect: 100-continue\r\ncontent-length: {length}\r\n"
    with socket.create_connection(gateway.host_and_port, timeout=10) as client:
        client.sendall(f"POST {CHAT} HTTP/1.1\r\nhost: x\r\n{wanted}\r\n".encode())
        reply = read_reply(client)
        assert reply.status in {400, 413}
        assert reply.headers["connection"] == "close"
        assert read_all(client) == b""


def test_a_client_that_waits_is_asked_for_its_body(gateway: Served) -> None:
    body = json.dumps(asked()).encode()
    headers = f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
    with socket.create_connection(gateway.host_and_port, timeout=10) as client:
        for _ in range(2):
            start = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\n{headers}expect: 100-continue\r\n\r\n"
            client.sendall(start.encode())
            assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
            client.sendall(body)
            reply = read_reply(client)
            assert reply.status == 200
            assert "connection" not in reply.headers


class Watched:
    """A connection that counts the checks of its deadlines."""

    def __init__(self, defect: Exception | None = None) -> None:
        self.defect = defect
        self.looks = 0

    def check_deadlines(self, now: float) -> None:
        self.looks += 1
        if self.defect is not None:
            raise self.defect


async def test_a_defect_at_one_connection_keeps_the_deadlines_of_all(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connection, "SWEEP_SECONDS", 0.01)
    watched = [Watched(ValueError("a defect")), Watched()]
    shared = connection.Connections(ServerSettings(), Lifecycle())
    sweeping = asyncio.create_task(shared.sweep(set(watched)))  # type: ignore[arg-type]
    await asyncio.sleep(0.1)
    sweeping.cancel()
    assert all(each.looks > 1 for each in watched)
    assert "a connection's deadlines could not be checked" in caplog.text
