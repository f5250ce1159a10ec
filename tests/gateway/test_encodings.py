"""JSON bodies with a byte order mark, in other encodings, and of no encoding at all."""

from __future__ import annotations

import codecs
import json
from typing import Any

import httpx2
import pytest

from tests.gateway.asking import asked
from tests.gateway.test_bad_input import CHAT, check
from tests.pictures import data_url, encoded

BODIES: dict[str, dict[str, Any]] = {
    CHAT: asked(data_url(encoded())),
    "/predict": {"image_url": data_url(encoded()), "prompt": "Größe? 图"},
}


def send(http: httpx2.Client, path: str, body: bytes, kind: str = "application/json") -> Any:
    return http.post(path, content=body, headers={"content-type": kind})


HALF = (
    "A string holds half of a surrogate pair, which is not a character. Send valid Unicode: both "
    "halves, or the character itself."
)
CUT = "The body is not valid JSON: it, or a string in it, is truncated. Send one JSON object."


@pytest.mark.parametrize("path", BODIES)
def test_a_byte_order_mark_is_taken(http: httpx2.Client, path: str) -> None:
    body = json.dumps(BODIES[path], ensure_ascii=False).encode()
    for kind in ("application/json", "application/json; charset=utf-8"):
        reply = send(http, path, codecs.BOM_UTF8 + body, kind)
        assert reply.status_code == 200, reply.text


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(
    ("encoding", "named"),
    [
        ("utf-16", "UTF-16"),
        ("utf-16-le", "UTF-16-LE"),
        ("utf-16-be", "UTF-16-BE"),
        ("utf-32", "UTF-32"),
        ("utf-32-le", "UTF-32-LE"),
        ("utf-32-be", "UTF-32-BE"),
    ],
)
def test_another_encoding_is_named(
    http: httpx2.Client, path: str, encoding: str, named: str
) -> None:
    error = check(
        send(http, path, json.dumps(BODIES[path]).encode(encoding)), 400, "invalid_request"
    )
    assert error["message"] == f"The body is encoded in {named}. Send JSON in UTF-8."


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "The body is empty. Send one JSON object."),
        (codecs.BOM_UTF8, "The body is empty. Send one JSON object."),
        (
            '{"model": "größer"}'.encode("latin-1"),
            "The body is not valid UTF-8. Send JSON in UTF-8.",
        ),
        (
            b'{"model": x}',
            "The body is not valid JSON: error at byte 10. Send one JSON object.",
        ),
        (
            codecs.BOM_UTF8 + b'{"model": x}',
            "The body is not valid JSON: error at byte 10. Send one JSON object.",
        ),
        (
            b'{"model": "a',
            CUT,
        ),
        *(
            (b'{"model": "' + half + b'"}', HALF)
            for half in (
                b"\\ud800",
                b"\\uDBFFabc",
                b"\\udc00",
                b"\\ud800 and more text",
                b"\\ud83d\\u0041",
                b"\\ud800\\ud800 and more text",
                b"\\\\\\ud800",
            )
        ),
        (b'{"\\udfff": 1}', HALF),
        (b'{"guided_choice": ["\\ud83d"]}', HALF),
        (b'{"tools": [{"parameters": {"a": "\\ude00\\ud83d"}}]}', HALF),
        (b'{"model": "\\\\ud800', CUT),
        (b'{"model": "a",}', "The body is not valid JSON: error at byte 14. Send one JSON object."),
        (b"model=a&n=1", "The body is not valid JSON: error at byte 0. Send one JSON object."),
    ],
)
def test_what_is_no_json_is_told(http: httpx2.Client, path: str, body: bytes, message: str) -> None:
    assert check(send(http, path, body), 400, "invalid_request")["message"] == message


def test_a_body_that_is_nested_too_deeply(http: httpx2.Client) -> None:
    body = b'{"model": "m", "tools": ' + b"[" * 50_000 + b"]" * 50_000 + b"}"
    error = check(send(http, CHAT, body), 400, "invalid_request")
    assert error["message"] == (
        "The body is nested too deeply. Send one JSON object with the documented fields."
    )
