"""What comes on a connection that is no request, or two at once: one answer each, in one form."""

from __future__ import annotations

import json
import socket
import time

import psutil
import pytest

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
    "a path that is not ASCII": b"GET /\xff HTTP/1.1\r\nhost: x\r\n\r\n",
    "a control character": b"GET / HTTP/1.1\r\nhost: x\r\nx-a: \x01\r\n\r\n",
    "a folded header": b"GET / HTTP/1.1\r\nhost: x\r\nx-a: b\r\n c\r\n\r\n",
    "length and chunks": POST
    + b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
    + SMUGGLED,
    "chunks and length": POST
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
