import base64
import io
import os
import shutil
import tempfile

import httpx2
import pytest
from PIL import Image

from tests.gateway.test_bad_input import check
from tests.origin import Origin
from tests.pictures import data_url, encoded
from tests.serving import served

PICTURE = encoded(colour="green")


def test_an_upload_is_answered(http: httpx2.Client) -> None:
    reply = http.post("/predict", files={"image": PICTURE}, data={"prompt": "What is this?"})
    assert reply.status_code == 200
    answer = reply.json()
    assert answer["response"]
    assert answer["usage"]["image_tokens"] == 16
    assert answer["cache"] == reply.headers["x-silkline-cache"]
    assert answer["request_id"] == reply.headers["x-request-id"]
    assert sum(answer["timeline"].values()) > 0


def test_all_forms_of_a_picture_are_one(http: httpx2.Client, origin: Origin) -> None:
    prompt = {"prompt": "What is this?"}
    replies = [
        http.post("/predict", files={"image": PICTURE}, data=prompt),
        http.post("/predict", json={"image_base64": base64.b64encode(PICTURE).decode(), **prompt}),
        http.post("/predict", json={"image_url": data_url(PICTURE), **prompt}),
        http.post("/predict", json={"image_url": origin.put("/green.jpg", PICTURE), **prompt}),
    ]
    assert [reply.status_code for reply in replies] == [200] * 4
    assert len({reply.json()["response"] for reply in replies}) == 1


def test_max_tokens_of_a_form_is_a_number(http: httpx2.Client) -> None:
    reply = http.post("/predict", files={"image": PICTURE}, data={"max_tokens": "1"})
    assert reply.json()["usage"]["completion_tokens"] == 1


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        ({"json": {"prompt": "no picture"}}, 400, "invalid_request"),
        (
            {"json": {"image_url": data_url(PICTURE), "image_base64": "aaaa"}},
            400,
            "invalid_request",
        ),
        ({"json": {"image_base64": "not base64!"}}, 400, "invalid_request"),
        ({"json": {"image_url": data_url(PICTURE), "prompt": ""}}, 400, "invalid_request"),
        ({"json": {"image_url": data_url(PICTURE), "question": "?"}}, 400, "invalid_request"),
        ({"content": b"{"}, 400, "invalid_request"),
        ({"files": {"picture": PICTURE}}, 400, "invalid_request"),
        ({"data": {"image": "text"}}, 400, "invalid_request"),
        ({"files": {"image": b"plain text"}}, 415, "image_format"),
        ({"files": {"image": PICTURE[:200]}}, 400, "image_undecodable"),
        ({"files": {"image": PICTURE}, "data": {"model": "other"}}, 404, "model_not_found"),
        ({"files": {"image": PICTURE}, "data": {"image_url": "x"}}, 400, "invalid_request"),
        ({"content": b"image=x"}, 400, "invalid_request"),
        ({"files": [("image", PICTURE), ("image", PICTURE)]}, 400, "invalid_request"),
        (
            {"files": {"image": PICTURE}, "data": {f"field{i}": "x" for i in range(20)}},
            400,
            "invalid_request",
        ),
        (
            {"content": b"--x\r\nbroken", "headers": {"content-type": "multipart/form-data"}},
            400,
            "invalid_request",
        ),
    ],
)
def test_a_bad_request_gets_its_code(
    http: httpx2.Client, request_: dict[str, object], status: int, code: str
) -> None:
    check(http.post("/predict", **request_), status, code)  # type: ignore[arg-type]
    assert http.post("/predict", files={"image": PICTURE}).status_code == 200


@pytest.mark.parametrize("charset", ["undefined", "punycode", "idna", "hex", "no-such-set"])
def test_no_character_set_of_a_form_is_a_defect(http: httpx2.Client, charset: str) -> None:
    form = httpx2.Request("POST", "http://any", files={"image": PICTURE}, data={"prompt": "Who?"})
    body = form.read()
    kind = f"{form.headers['content-type']}; charset={charset}"
    reply = http.post("/predict", content=body, headers={"content-type": kind})
    if reply.status_code != 200:
        check(reply, 400, "invalid_request")


def test_an_upload_needs_no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tempfile.mkdtemp(dir="/tmp")  # sockets want a short name
    monkeypatch.setenv("TMPDIR", folder)
    with served("--engine", "fake") as running:
        shutil.rmtree(folder)
        picture = noisy(800)
        assert len(picture) > 1024 * 1024
        reply = httpx2.post(f"{running.url}/predict", files={"image": picture}, timeout=30)
        assert reply.status_code == 200, reply.text


def noisy(edge: int) -> bytes:
    """A picture that nothing makes smaller."""
    file = io.BytesIO()
    Image.frombytes("RGB", (edge, edge), os.urandom(3 * edge * edge)).save(file, "PNG")
    return file.getvalue()
