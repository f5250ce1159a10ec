"""Bodies with a Content-Encoding: decompressed within the limits, or refused by what is wrong."""

from __future__ import annotations

import gzip
import json
import socket
import sys
import zlib
from collections.abc import Callable, Iterator

import httpx2
import psutil
import pytest

from tests.gateway.asking import asked
from tests.gateway.keyed import keyed
from tests.gateway.test_bad_input import CHAT, check
from tests.gateway.test_forms import IMAGE, WHOLE
from tests.pictures import data_url, encoded
from tests.serving import Served, served

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MIB = 1024 * 1024
BODY = json.dumps(asked(data_url(encoded(300, 200)))).encode()
TAKEN = "gzip, deflate, zstd"


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACKERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "upper case": ("GZIP", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
    "zstd": ("zstd", zstd.compress),
    "beside identity": ("identity, gzip", gzip.compress),
}


def send(
    http: httpx2.Client, body: bytes | Iterator[bytes], encoding: str, **headers: str
) -> httpx2.Response:
    kind = {"content-type": "application/json", "content-encoding": encoding}
    return http.post(CHAT, content=body, headers=kind | headers)


@pytest.mark.parametrize("name", PACKERS)
def test_a_packed_body_is_the_same_request(http: httpx2.Client, name: str) -> None:
    encoding, pack = PACKERS[name]
    plain = send(http, BODY, "identity")
    packed = pack(BODY)
    in_chunks = (packed[start : start + 100] for start in range(0, len(packed), 100))
    byte_by_byte = (packed[place : place + 1] for place in range(600))
    for body in (packed, in_chunks):
        reply = send(http, body, encoding)
        assert reply.status_code == 200, reply.text
        assert reply.json()["choices"] == plain.json()["choices"]
    error = check(send(http, byte_by_byte, encoding), 400, "invalid_request")
    assert "is truncated" in error["message"]


@pytest.mark.parametrize("name", PACKERS)
def test_a_packed_form(http: httpx2.Client, name: str) -> None:
    encoding, pack = PACKERS[name]
    headers = {"content-type": "multipart/form-data; boundary=silk", "content-encoding": encoding}
    assert http.post("/predict", content=pack(WHOLE), headers=headers).status_code == 200


@pytest.mark.parametrize("encoding", ["", "identity", "Identity, identity", ","])
def test_no_encoding_at_all(http: httpx2.Client, encoding: str) -> None:
    assert send(http, BODY, encoding).status_code == 200


def test_members_one_after_another_are_one_body(http: httpx2.Client) -> None:
    for pack, encoding in ((gzip.compress, "gzip"), (zstd.compress, "zstd")):
        assert send(http, pack(BODY[:100]) + pack(BODY[100:]), encoding).status_code == 200


def test_many_empty_members_are_refused(http: httpx2.Client) -> None:
    for pack, encoding in ((gzip.compress, "gzip"), (zstd.compress, "zstd")):
        error = check(send(http, pack(b"") * 60_000, encoding), 400, "invalid_request")
        assert "continues after its end" in error["message"]


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        ("br", f"The Content-Encoding br is not supported. Use one of {TAKEN}, or none."),
        (
            "compress",
            f"The Content-Encoding compress is not supported. Use one of {TAKEN}, or none.",
        ),
        (
            "aws-chunked",
            ("The Content-Encoding aws-chunked is not supported. Use one of gzip, deflate, "
            "zstd, or none."),
        ),
        (
            "gzip, gzip",
            "The body has 2 encodings: gzip, gzip. Use one of gzip, deflate, zstd, or none.",
        ),
        (
            ", ".join(["gzip"] * 100),
            ("The body has 100 encodings: gzip, gzip, .... Use one of gzip, deflate, zstd, "
            "or none."),
        ),
        (
            "zstd, br",
            "The body has 2 encodings: zstd, br. Use one of gzip, deflate, zstd, or none.",
        ),
    ],
)  # fmt: skip
def test_another_encoding_is_named(http: httpx2.Client, encoding: str, message: str) -> None:
    for path in (CHAT, "/predict"):
        headers = {"content-type": "application/json", "content-encoding": encoding}
        reply = http.post(path, content=gzip.compress(BODY), headers=headers)
        error = check(reply, 415, "unsupported_encoding")
        assert (error["message"], error["param"]) == (message, "Content-Encoding")
        assert reply.headers["accept-encoding"] == TAKEN


def test_encodings_in_two_headers_are_two(http: httpx2.Client) -> None:
    twice = [("content-encoding", "gzip"), ("content-encoding", "gzip")]
    headers = [("content-type", "application/json"), *twice]
    reply = http.post(CHAT, content=gzip.compress(gzip.compress(BODY)), headers=headers)
    check(reply, 415, "unsupported_encoding")


@pytest.mark.parametrize("name", PACKERS)
def test_what_is_not_packed_as_its_header_says(http: httpx2.Client, name: str) -> None:
    encoding, pack = PACKERS[name]
    packed = pack(BODY)
    for body, fault in (
        (packed[:-1], "is truncated"),
        (packed[: len(packed) // 2], "is truncated"),
        (packed[:1], "is truncated"),
        (packed + b"more", "continues after its end"),
        (BODY, "is not valid"),
        (b"\x00" * 100, "is not valid"),
    ):
        if name == "raw deflate" and body in (packed[:-1], packed + b"more"):
            continue  # its end is no more than a mark in its last byte
        error = check(send(http, body, encoding), 400, "invalid_request")
        assert fault in error["message"], error["message"]
    damaged = bytearray(packed)
    damaged[len(damaged) // 2] ^= 0xFF
    check(send(http, bytes(damaged), encoding), 400, "invalid_request")
    assert send(http, packed, encoding).status_code == 200


def test_an_empty_body_is_empty(http: httpx2.Client) -> None:
    for body in (b"", gzip.compress(b"")):
        error = check(send(http, body, "gzip"), 400, "invalid_request")
        assert error["message"] == "The body is empty. Send one JSON object."


@pytest.fixture(scope="module")
def roomy() -> Iterator[Served]:
    with served("--engine", "fake", "--max-body-bytes", str(16 * MIB)) as running:
        yield running


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gzip", "raw deflate", "zstd"])
def test_a_bomb_is_refused_in_little_memory(roomy: Served, name: str) -> None:
    encoding, pack = PACKERS[name]
    bomb = pack(b" " * (256 * MIB))
    process = psutil.Process(roomy.process.pid)
    with httpx2.Client(base_url=roomy.url, timeout=30) as http:
        assert send(http, BODY, "identity").status_code == 200
        before = process.memory_info().rss
        for _ in range(3):
            error = check(send(http, bomb, encoding), 413, "request_too_large")
            assert "16777216 bytes" in error["message"]
        assert process.memory_info().rss - before < 64 * MIB
        assert send(http, BODY, "identity").status_code == 200


def test_a_wide_window_is_refused(roomy: Served) -> None:
    """A frame that wants 128 MiB to be unpacked; HTTP allows 8."""
    options: dict[int, int] = {zstd.CompressionParameter.window_log: 27}
    packer = zstd.ZstdCompressor(options=options)
    bomb = packer.compress(b" " * MIB) + packer.flush()
    with httpx2.Client(base_url=roomy.url, timeout=30) as http:
        error = check(send(http, bomb, "zstd"), 400, "invalid_request")
    assert "is not valid" in error["message"]


def test_the_limit_is_that_of_the_unpacked_body(roomy: Served) -> None:
    fits = BODY + b" " * (16 * MIB - len(BODY))
    with httpx2.Client(base_url=roomy.url, timeout=30) as http:
        assert send(http, gzip.compress(fits, 1), "gzip").status_code == 200
        check(send(http, gzip.compress(fits + b" ", 1), "gzip"), 413, "request_too_large")


async def test_a_key_knows_a_request_whether_packed_or_not() -> None:
    async with keyed() as running:
        plain = await running.post("once")
        for pack, encoding in ((gzip.compress, "gzip"), (zstd.compress, "zstd")):
            headers = {"Idempotency-Key": "one", "content-encoding": encoding}
            packed = await running.client.post(CHAT, content=pack(b"once"), headers=headers)
            assert packed.text == plain.text
            assert packed.headers["idempotent-replayed"] == "true"
        other = {"Idempotency-Key": "one", "content-encoding": "gzip"}
        reply = await running.client.post(CHAT, content=gzip.compress(b"twice"), headers=other)
        assert reply.status_code == 422
        assert running.executions == ["once"]


def test_an_image_that_comes_packed(http: httpx2.Client) -> None:
    files = httpx2.Request("POST", "http://any", files={"image": IMAGE})
    headers = {"content-type": files.headers["content-type"], "content-encoding": "gzip"}
    reply = http.post("/predict", content=gzip.compress(files.read()), headers=headers)
    assert reply.status_code == 200


@pytest.mark.slow
def test_what_all_bodies_hold_is_what_they_unpack_to() -> None:
    """While one packed body of a megabyte is open, there is no room for another."""
    packed = gzip.compress(b" " * 1_000_000)
    head = (
        b"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(packed)
    )
    limits = ("--max-body-bytes", str(MIB), "--max-held-body-bytes", str(MIB))
    with (
        served("--engine", "fake", *limits) as running,
        httpx2.Client(base_url=running.url, timeout=30) as http,
    ):
        plain = BODY + b" " * 500_000
        assert send(http, plain, "identity").status_code == 200

        def no_room() -> bool:
            return send(http, plain, "identity").status_code == 503

        def no_room_beside_the_packed() -> bool:
            """Tried anew if the plain body came first: then the packed one had no room."""
            with socket.create_connection(running.host_and_port, timeout=15) as connection:
                connection.sendall(head + packed[:-1])
                return no_room()

        assert any(no_room_beside_the_packed() for _ in range(50))
        assert any(not no_room() for _ in range(50))
