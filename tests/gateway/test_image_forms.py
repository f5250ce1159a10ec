"""The forms in which clients send an image or a text, and what is reported of a mended one."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from tests.gateway.test_bad_input import check
from tests.gateway.test_pixels import CHAT, body, sizes
from tests.pictures import encoded
from tests.serving import served

DATA = encoded(70, 50, "purple", "PNG") + bytes(range(256))  # bytes after the end change nothing
while len(DATA) % 3 != 1:  # so that Base64 needs padding
    DATA += b"\0"
PLAIN = base64.b64encode(DATA).decode()
URL = f"data:image/png;base64,{PLAIN}"
IGNORED = "x-silkline-ignored"


@pytest.fixture(scope="module")
def echo() -> Iterator[httpx2.Client]:
    with (
        served("--engine", "fake", "--engine-options", "mode=echo") as running,
        httpx2.Client(base_url=running.url, timeout=30) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def strict() -> Iterator[httpx2.Client]:
    options = ("--engine-options", "mode=echo", "--strict-fields", "true")
    with (
        served("--engine", "fake", *options) as running,
        httpx2.Client(base_url=running.url, timeout=30) as client,
    ):
        yield client


PARTS: dict[str, dict[str, Any]] = {
    "an object": {"type": "image_url", "image_url": {"url": URL}},
    "a string": {"type": "image_url", "image_url": URL},
    "a format": {"type": "image_url", "image_url": {"url": URL, "format": "image/png"}},
    "a detail beside it": {"type": "image_url", "image_url": URL, "detail": "high"},
    "null detail": {"type": "image_url", "image_url": {"url": URL, "detail": None}},
    "Responses": {"type": "input_image", "image_url": URL, "detail": "auto"},
    "Responses with an object": {"type": "input_image", "image_url": {"url": URL}},
    "Responses with a null id": {"type": "input_image", "image_url": URL, "file_id": None},
    "Qwen": {"type": "image", "image": URL},
    "Qwen with pixels": {"type": "image", "image": URL, "min_pixels": 4, "max_pixels": 10**6},
    "a file": {"type": "file", "file": {"file_data": URL, "filename": "a.png"}},
    "a file of Responses": {"type": "input_file", "file_data": PLAIN},
    "with a uuid": {"type": "image_url", "image_url": {"url": URL}, "uuid": "1"},
    "with cache control": {
        "type": "image_url", "image_url": {"url": URL}, "cache_control": {"type": "ephemeral"},
    },
}  # fmt: skip


def test_all_parts_with_one_image_are_the_same_question(
    echo: httpx2.Client, strict: httpx2.Client
) -> None:
    for client in (echo, strict):
        states = []
        for name, part in PARTS.items():
            reply = client.post(CHAT, json=body(part, max_tokens=20))
            assert sizes(reply) == [(70, 50)], name
            assert IGNORED not in reply.headers, name
            states.append(reply.headers["x-silkline-cache"])
        assert states == ["miss"] + ["hit"] * (len(states) - 1)


HEADS = {
    "another type": "data:image/jpg;base64,",
    "no type": "data:;base64,",
    "only a kind": "data:image;base64,",
    "charset": "data:image/png;charset=utf-8;base64,",
    "a name": "data:image/png;name=my%20mug.png;base64,",
    "a quoted name": 'data:image/png;name="a;b,c.png";base64,',
    "several": "data:image/png;charset=utf-8;name=x;base64,",
    "capitals": "DATA:IMAGE/PNG;BASE64,",
    "spaces": " data:image/png; base64,",
}


@pytest.mark.parametrize("head", HEADS)
def test_the_head_of_a_data_url_does_not_matter(
    echo: httpx2.Client, strict: httpx2.Client, head: str
) -> None:
    for client in (echo, strict):
        reply = client.post(
            CHAT, json=body({"type": "image_url", "image_url": HEADS[head] + PLAIN})
        )
        assert sizes(reply) == [(70, 50)]
        assert IGNORED not in reply.headers


def lines(text: str) -> str:
    return "\r\n".join(text[at : at + 76] for at in range(0, len(text), 76))


def safe(text: str) -> str:
    return text.replace("+", "-").replace("/", "_")


MENDED: dict[str, tuple[Callable[[str], str], list[str]]] = {
    "lines": (lines, ["white_space"]),
    "a line break at the end": (lambda text: text + "\n", ["white_space"]),
    "the URL-safe alphabet": (safe, ["url_safe_alphabet"]),
    "without padding": (lambda text: text.rstrip("="), ["padding"]),
    "percent-encoded": (quote, ["percent_encoding"]),
    "all": (
        lambda text: lines(safe(text).rstrip("=")),
        ["padding", "url_safe_alphabet", "white_space"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", MENDED)
def test_mended_base64_is_named_and_strictly_refused(
    echo: httpx2.Client, strict: httpx2.Client, form: str
) -> None:
    assert {"+", "/", "="} <= set(PLAIN)
    mend, names = MENDED[form]
    url = "data:image/png;base64," + mend(PLAIN)
    assert url != URL
    expected = ",".join(f"messages.content.image_url.{name}" for name in names)
    asked = body({"type": "image_url", "image_url": {"url": url}})
    for stream in (False, True):
        for _ in ("new", "known"):
            reply = echo.post(CHAT, json={**asked, "stream": stream})
            assert reply.status_code == 200, reply.text
            assert stream or sizes(reply) == [(70, 50)]
            assert reply.headers[IGNORED] == expected
    error = check(strict.post(CHAT, json=asked), 400, "invalid_request")
    assert error["param"] == "messages.0.content.0.image_url"
    assert "strict_fields" in error["message"]


def test_several_mended_images_are_named_once(echo: httpx2.Client) -> None:
    parts = [
        {"type": "image_url", "image_url": "data:," + quote(DATA)},
        *({"type": "image_url", "image_url": URL + "\n" * count} for count in (1, 2, 3)),
    ]
    reply = echo.post(CHAT, json=body(*parts, mood="calm", n=2))
    assert reply.headers[IGNORED] == "messages.content.image_url.white_space,mood"


def test_text_may_have_the_name_that_the_responses_api_gives_it(echo: httpx2.Client) -> None:
    part = {"type": "input_text", "text": "Hello"}
    reply = echo.post(CHAT, json=body(part, {"type": "text", "text": "there"}))
    assert reply.json()["choices"][0]["message"]["content"] == "Hello there"


@pytest.mark.parametrize(
    ("part", "param"),
    [
        ({"type": "image_url"}, ""),
        ({"type": "image_url", "image_url": ""}, ".image_url"),
        ({"type": "image_url", "image_url": 5}, ".image_url"),
        ({"type": "image_url", "image_url": ["a"]}, ".image_url"),
        ({"type": "input_image", "file_id": "file-1"}, ".file_id"),
        ({"type": "image", "image": "picture.png"}, ".image"),
        ({"type": "image", "image": "file:///a.png"}, ".image"),
        ({"type": "image", "image": {"url": "a"}}, ".image"),
        ({"type": "image", "image": URL, "resized_height": 280}, ".resized_height"),
        ({"type": "image_url", "image_url": URL, "detail": "tiny"}, ".detail"),
        ({"type": "image_file", "image_file": {"file_id": "1"}}, ".type"),
    ],
)
def test_what_is_no_image_is_refused_by_its_field(
    echo: httpx2.Client, part: dict[str, Any], param: str
) -> None:
    reply = echo.post(CHAT, json=body(part))
    error = check(reply, 400, "url_blocked" if "file:" in str(part) else "invalid_request")
    assert error["param"] == f"messages.0.content.0{param}"
