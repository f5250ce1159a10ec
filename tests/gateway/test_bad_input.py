"""Bad input of each kind gets its documented code, and the next good request works."""

import io
import json
import struct
import time
import zlib
from typing import Any

import httpx2
import pytest
from PIL import Image

from tests.gateway.asking import MODEL, asked, messages
from tests.origin import Origin
from tests.pictures import data_url, encoded

CHAT = "/v1/chat/completions"
HANG_SECONDS = 5.0


def bomb() -> bytes:
    """A PNG of a few hundred bytes that claims 50,000 x 50,000 pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(10_000))
    start = b"\x89PNG\r\n\x1a\n"
    return start + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def icon() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "ICO")
    return buffer.getvalue()


def noise(size: int) -> bytes:
    return zlib.compress(bytes(range(256)) * size)[:size].ljust(size, b"x")


BAD_PICTURES = {
    "not a picture": (data_url(b"hello, this is text" * 10), 415, "image_format"),
    "empty": (data_url(b""), 415, "image_format"),
    "svg": (data_url(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), 415, "image_format"),
    "another format": (data_url(icon()), 415, "image_format"),
    "truncated": (data_url(encoded(400, 400)[:1500]), 400, "image_undecodable"),
    "only a header": (data_url(b"\x89PNG\r\n\x1a\n" + bytes(64)), 400, "image_undecodable"),
    "bomb": (data_url(bomb()), 413, "image_too_large"),
    "too many bytes": (data_url(encoded() + noise(1_000_000)), 413, "image_too_large"),
    "broken base64": ("data:image/png;base64,@@@@", 400, "invalid_request"),
    "no comma": ("data:image/png;base64", 400, "invalid_request"),
    "metadata address": ("http://169.254.169.254/latest/meta-data", 400, "url_blocked"),
    "loopback": ("http://127.0.0.1:1/a.jpg", 400, "url_blocked"),
    "decimal address": ("http://2130706433/a.jpg", 400, "url_blocked"),
    "file": ("file:///etc/passwd", 400, "url_blocked"),
    "credentials": ("http://user:secret@example.com/a.jpg", 400, "url_blocked"),
    "not a url": ("picture.jpg", 400, "invalid_request"),
}

BAD_BODIES: dict[str, tuple[Any, int, str]] = {
    "malformed JSON": (b'{"model": ', 400, "invalid_request"),
    "not an object": (b"[1, 2]", 400, "invalid_request"),
    "not UTF-8": (b'{"model": "\xff"}', 400, "invalid_request"),
    "deep": (b"[" * 100_000, 400, "invalid_request"),
    "empty body": (b"", 400, "invalid_request"),
    "no messages": ({"model": MODEL}, 400, "invalid_request"),
    "empty messages": ({"model": MODEL, "messages": []}, 400, "invalid_request"),
    "unknown role": (
        {"model": MODEL, "messages": [{"role": "canary", "content": "a"}]},
        400,
        "invalid_request",
    ),
    "unknown part": (
        {"model": MODEL, "messages": [{"role": "user", "content": [{"type": "canary"}]}]},
        400,
        "invalid_request",
    ),
    "unknown model": (asked() | {"model": "gpt-9"}, 404, "model_not_found"),
    "zero tokens": (asked(max_tokens=0), 400, "invalid_request"),
    "negative tokens": (asked(max_tokens=-1), 400, "invalid_request"),
    "a float of tokens": (asked(max_tokens=1.5), 400, "invalid_request"),
    "hot": (asked(temperature=99), 400, "invalid_request"),
    "NaN": (json.dumps(asked(temperature=float("nan"))).encode(), 400, "invalid_request"),
    "infinite": (json.dumps(asked(top_p=float("inf"))).encode(), 400, "invalid_request"),
    "a flag for a number": (asked(max_tokens=True), 400, "invalid_request"),
    "a million wrong messages": (
        b'{"model": "m", "messages": [' + b"0," * 900_000 + b"0]}",
        400,
        "invalid_request",
    ),
    "nested metadata": (
        b'{"model": "m", "metadata": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}",
        400,
        "invalid_request",
    ),
    "many answers": (asked(n=17), 400, "invalid_request"),
    "absurd n": (asked(n=2**63), 400, "invalid_request"),
    "absurd seed": (asked(seed=2**70), 400, "invalid_request"),
    "empty stop": (asked(stop=""), 400, "invalid_request"),
    "many stops": (asked(stop=["a"] * 17), 400, "invalid_request"),
    "own template": (asked(chat_template="{{ 1 }}"), 400, "invalid_request"),
    "tools": (asked(tools=[{"type": "function"}]), 400, "invalid_request"),
    "a format": (asked(response_format={"type": "xml"}), 400, "invalid_request"),
    "no schema": (asked(response_format={"type": "json_schema"}), 400, "invalid_request"),
    "too many messages": (asked() | {"messages": messages() * 300}, 413, "request_too_large"),
    "too much text": (
        {"model": MODEL, "messages": messages(text="x" * 100_001)},
        413,
        "request_too_large",
    ),
    "longer than the context": (
        {"model": MODEL, "messages": messages(text="é" * 5000)},
        400,
        "invalid_request",
    ),
    "too many pictures": (asked(*[data_url(encoded())] * 5), 413, "request_too_large"),
    "too many pixels together": (
        asked(*[data_url(encoded(1900, 1900))] * 3),
        413,
        "image_too_large",
    ),
    "a body over the limit": (asked("x" * 2_100_000), 413, "request_too_large"),
}


def check(reply: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    assert reply.status_code == status, reply.text
    error: dict[str, Any] = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code
    assert error["message"]
    assert reply.headers["x-request-id"]
    for leak in ("Traceback", "/src/", "site-packages", "0x", "PIL", "pydantic", "canary"):
        assert leak not in reply.text
    return error


def post(http: httpx2.Client, body: Any) -> httpx2.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return http.post(CHAT, content=content, headers={"content-type": "application/json"})


def still_works(http: httpx2.Client) -> None:
    assert post(http, asked(data_url(encoded()))).status_code == 200


@pytest.mark.parametrize("kind", BAD_PICTURES)
def test_a_bad_picture(http: httpx2.Client, kind: str) -> None:
    url, status, code = BAD_PICTURES[kind]
    began = time.monotonic()
    error = check(post(http, asked(url)), status, code)
    assert time.monotonic() - began < HANG_SECONDS
    assert error["param"] == "messages.0.content.0.image_url"
    still_works(http)


@pytest.mark.parametrize("kind", BAD_BODIES)
def test_a_bad_body(http: httpx2.Client, kind: str) -> None:
    body, status, code = BAD_BODIES[kind]
    began = time.monotonic()
    check(post(http, body), status, code)
    assert time.monotonic() - began < HANG_SECONDS
    still_works(http)


def test_a_wrong_content_type(http: httpx2.Client) -> None:
    body = json.dumps(asked()).encode()
    check(
        http.post(CHAT, content=body, headers={"content-type": "text/plain"}),
        400,
        "invalid_request",
    )


def test_too_many_or_too_long_headers(http: httpx2.Client) -> None:
    check(http.get("/v1/models", headers={"x-long": "x" * 40_000}), 431, "headers_too_large")
    many = {f"x-{place}": "x" for place in range(300)}
    check(http.get("/v1/models", headers=many), 431, "headers_too_large")
    still_works(http)


def test_an_endless_body_is_cut_at_the_limit(http: httpx2.Client) -> None:
    chunks = (b"x" * 65_536 for _ in range(1000))
    reply = http.post(CHAT, content=chunks, headers={"content-type": "application/json"})
    check(reply, 413, "request_too_large")
    still_works(http)


@pytest.mark.parametrize("status", [404, 500, 302])
def test_an_origin_that_fails(http: httpx2.Client, origin: Origin, status: int) -> None:
    url = origin.put(f"/{status}.jpg", b"secret page", status=status)
    error = check(post(http, asked(url)), 400, "image_fetch_failed")
    assert "secret" not in error["message"]


def test_an_origin_that_gives_a_page(http: httpx2.Client, origin: Origin) -> None:
    url = origin.put("/page", b"<html>hello</html>", kind="image/png")
    check(post(http, asked(url)), 415, "image_format")


def test_a_redirect_into_the_private_network(http: httpx2.Client, origin: Origin) -> None:
    url = origin.redirect("/away", "http://169.254.169.254/latest/meta-data")
    check(post(http, asked(url)), 400, "url_blocked")


def test_an_unknown_path_and_method(http: httpx2.Client) -> None:
    check(http.get("/v2/none"), 404, "not_found")
    check(http.post("/"), 405, "method_not_allowed")
    refused = http.get(CHAT)
    check(refused, 405, "method_not_allowed")
    assert refused.headers["allow"] == "POST"


def test_an_engine_out_of_memory_ends_only_its_request(http: httpx2.Client) -> None:
    body = {"model": MODEL, "messages": messages(text="<<oom>>")}
    reply = post(http, body)
    check(reply, 503, "overloaded")
    assert int(reply.headers["retry-after"]) >= 1
    still_works(http)


def test_an_error_before_the_first_token_of_a_stream_has_its_status(http: httpx2.Client) -> None:
    body = {"model": MODEL, "messages": messages(text="é" * 5000), "stream": True}
    check(post(http, body), 400, "invalid_request")
