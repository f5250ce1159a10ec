"""Documents in chat completions: the model sees each page as an image."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from openai import OpenAI

from tests.gateway.test_bad_input import check
from tests.gateway.test_pixels import CHAT, body, sizes
from tests.ingress.documents import COLOURS, encrypted, fanned_out_forms, many_pages, pdf
from tests.origin import Origin
from tests.pictures import data_url, encoded
from tests.serving import Served, served

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def server(origin: Origin) -> Iterator[Served]:
    options = "mode=echo,pixels_per_token=1024,image_tokens=4096"
    private = f"127.0.0.1:{origin.port}"
    with served(
        "--engine", "fake", "--engine-options", options, "--private-hosts", private,
        "--max-image-bytes", str(MIB),
    ) as running:  # fmt: skip
        yield running


@pytest.fixture(scope="module")
def echo(server: Served) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=server.url, timeout=60) as client:
        yield client


def as_url(data: bytes, parameters: str = "") -> str:
    return f"data:application/pdf{parameters};base64,{base64.b64encode(data).decode()}"


def file(data: bytes, **fields: Any) -> dict[str, Any]:
    return {"type": "file", "file": {"file_data": as_url(data), "filename": "a.pdf"}, **fields}


def text(echo: httpx2.Client, *parts: dict[str, Any]) -> str:
    reply = echo.post(CHAT, json=body(*parts))
    assert reply.status_code == 200, reply.text
    return str(reply.json()["choices"][0]["message"]["content"])


def test_the_official_client_sends_a_document(server: Served) -> None:
    with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        answer = client.chat.completions.create(
            model="silkline-fake",
            messages=[
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "Compare"},
                        {"type": "file", "file": {"file_data": as_url(pdf(*COLOURS)),
                                                  "filename": "colours.pdf"}},
                        {"type": "text", "text": "with"},
                        {"type": "image_url", "image_url": {"url": data_url(encoded())}},
                    ],
                }
            ],
        )  # fmt: skip
    pages = " ".join(["[600x400]"] * 3)
    assert answer.choices[0].message.content == f"Compare {pages} with [64x48]"


def forms(origin: Origin) -> dict[str, dict[str, Any]]:
    data = pdf("red", "blue", width=150, height=100)
    plain = base64.b64encode(data).decode()
    url = origin.put("/a.pdf", data)
    return {
        "file, data URL": file(data),
        "file, a URL's parameters": {
            "type": "file", "file": {"file_data": as_url(data, ";name=a.pdf")}
        },
        "file, Base64": {"type": "file", "file": {"file_data": plain}},
        "file, URL": {"type": "file", "file": {"file_data": url}},
        "input_file, data URL": {"type": "input_file", "file_data": as_url(data), "filename": "b"},
        "input_file, Base64": {"type": "input_file", "file_data": plain},
        "input_file, URL": {"type": "input_file", "file_url": url},
        "image_url, data URL": {"type": "image_url", "image_url": {"url": as_url(data)}},
        "image_url, URL": {"type": "image_url", "image_url": url},
    }  # fmt: skip


def test_all_forms_of_a_document_are_the_same_question(echo: httpx2.Client, origin: Origin) -> None:
    states = []
    for name, part in forms(origin).items():
        reply = echo.post(CHAT, json=body(part))
        assert sizes(reply) == [(300, 200)] * 2, name
        assert "x-silkline-ignored" not in reply.headers, name
        states.append(reply.headers["x-silkline-cache"])
    assert states == ["miss"] + ["hit"] * (len(states) - 1)


def test_pages_are_the_same_question_as_their_images(echo: httpx2.Client) -> None:
    """What counts is what the model sees, and where in the conversation it is."""
    one, two = (file(pdf(colour, width=60, height=60)) for colour in ("lime", "navy"))
    both = file(pdf("lime", "navy", width=60, height=60))
    orders = [(both,), (one, two), (both, one), (one, both), (two, one)]
    states = [echo.post(CHAT, json=body(*parts)).headers["x-silkline-cache"] for parts in orders]
    assert states == ["miss", "hit", "miss", "miss", "miss"]
    between = {"type": "text", "text": "and"}
    assert text(echo, one, between, two) == "[120x120] and [120x120]"
    assert text(echo, both, between, two) == "[120x120] [120x120] and [120x120]"


def test_a_document_in_an_earlier_message_keeps_its_place(echo: httpx2.Client) -> None:
    part = {"type": "image_url", "image_url": data_url(encoded(80, 60))}
    asked = body(part)
    asked["messages"].insert(0, {"role": "user", "content": [file(pdf(*COLOURS))]})
    assert sizes(echo.post(CHAT, json=asked)) == [(80, 60)]
    streamed = echo.post(CHAT, json={**asked, "stream": True})
    assert "[80" in streamed.text


def test_the_detail_holds_for_each_page(echo: httpx2.Client) -> None:
    page = pdf("red", "red", width=600, height=600)
    assert sizes(echo.post(CHAT, json=body(file(page)))) == [(1024, 1024)] * 2
    for part in (file(page, detail="low"), file(page, max_pixels=512 * 512)):
        reply = echo.post(CHAT, json=body(part))
        assert sizes(reply) == [(512, 512)] * 2
        assert reply.headers["x-silkline-pixel-budget"] == str(512 * 512)
    tokens = echo.post(CHAT, json=body(file(page))).json()["usage"]["prompt_tokens"]
    assert tokens >= 2 * 1024


@pytest.mark.parametrize(
    ("part", "status", "code", "message"),
    [
        (file(encrypted()), 400, "image_undecodable", "encrypted"),
        (file(pdf("red")[:200]), 400, "image_undecodable", "document is damaged"),
        (file(many_pages(17)), 413, "request_too_large", "17 pages"),
        (file(many_pages(2) + bytes(2 * MIB)), 413, "image_too_large", str(MIB)),
        (file(b"PK\3\4 a Word file"), 415, "image_format", "MPO or PDF"),
        ({"type": "file", "file": {"file_id": "file-1"}}, 400, "invalid_request", "file_id"),
        ({"type": "input_file", "file_id": "file-1"}, 400, "invalid_request", "file_id"),
        ({"type": "input_file"}, 400, "invalid_request", "file_data or file_url"),
        ({"type": "file", "file": {"filename": "a.pdf"}}, 400, "invalid_request", "file_data"),
        ({"type": "input_file", "file_url": "file:///a.pdf"}, 400, "url_blocked", "http"),
    ],
)
def test_a_bad_document_is_refused_by_its_field(
    echo: httpx2.Client, part: dict[str, Any], status: int, code: str, message: str
) -> None:
    error = check(echo.post(CHAT, json=body(part)), status, code)
    assert message in error["message"]
    assert error["param"].startswith("messages.0.content.0")


@pytest.mark.slow
def test_a_hostile_document_loses_no_other_request(echo: httpx2.Client) -> None:
    bad = body(file(fanned_out_forms()))
    good = [body(file(pdf("red", width=100 + at, height=100))) for at in range(12)]
    with ThreadPoolExecutor(15) as pool:
        replies = list(pool.map(lambda one: echo.post(CHAT, json=one), [bad] * 3 + good))
    assert [reply.status_code for reply in replies] == [400] * 3 + [200] * 12


def test_a_form_upload_may_be_a_document(echo: httpx2.Client) -> None:
    upload = {"image": ("a.pdf", pdf("red", "blue"), "application/pdf")}
    reply = echo.post("/predict", files=upload, data={"prompt": "What?"})
    assert reply.json()["response"] == "[600x400] [600x400] What?"


@pytest.mark.slow
def test_a_page_is_never_a_near_duplicate_of_another() -> None:
    """Two images of these greys are near duplicates, by their perceptual digests."""
    greys = ("#777777", "#999999")
    with (
        served("--engine", "fake", "--near-duplicates", "true") as running,
        httpx2.Client(base_url=running.url, timeout=60) as client,
    ):
        pages = [client.post(CHAT, json=body(file(pdf(grey)))) for grey in greys]
        assert [page.headers["x-silkline-cache"] for page in pages] == ["miss", "miss"]
