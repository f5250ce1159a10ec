import base64
import io
import os
import shutil
import tempfile
from urllib.parse import quote_from_bytes

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


BASE64 = base64.b64encode(PICTURE).decode()

SPELLINGS = {
    "in lines": base64.encodebytes(PICTURE).decode(),
    "in lines of CRLF": "\r\n".join(base64.encodebytes(PICTURE).decode().split("\n")),
    "indented": f"\n    {BASE64[:100]}\n    {BASE64[100:]}\n",
    "URL-safe": base64.urlsafe_b64encode(PICTURE).decode(),
    "URL-safe without padding": base64.urlsafe_b64encode(PICTURE).decode().rstrip("="),
    "without padding": BASE64.rstrip("="),
}


def asked_with(text: str, head: str = "data:image/jpeg;base64,") -> list[dict[str, object]]:
    """The same image to each door that takes Base64 in JSON."""
    part = {"type": "image_url", "image_url": {"url": head + text}}
    return [
        {"image_base64": text},
        {"image_base64": head + text},
        {"image_url": head + text},
        {"model": "silkline-fake", "messages": [{"role": "user", "content": [part]}]},
    ]


def answers(http: httpx2.Client, bodies: list[dict[str, object]]) -> list[httpx2.Response]:
    return [
        http.post("/v1/chat/completions" if "messages" in body else "/predict", json=body)
        for body in bodies
    ]


@pytest.mark.parametrize("kind", SPELLINGS)
def test_all_spellings_of_base64_are_one_image(http: httpx2.Client, kind: str) -> None:
    as_usual = answers(http, asked_with(BASE64))
    for usual, reply in zip(as_usual, answers(http, asked_with(SPELLINGS[kind])), strict=True):
        assert reply.status_code == 200, reply.text
        for field in {"response", "choices"} & usual.json().keys():
            assert reply.json()[field] == usual.json()[field]


@pytest.mark.parametrize(
    "head",
    [
        "data:image/jpg;base64,",
        "data:image/jpeg;charset=utf-8;base64,",
        "data:image/jpeg;name=caf%C3%A9.jpg;base64,",
        "data:;base64,",
        "DATA:image/jpeg;BASE64,",
        "  data:image/jpeg; base64,",
    ],
)
def test_all_heads_of_a_data_url(http: httpx2.Client, head: str) -> None:
    for reply in answers(http, asked_with(BASE64, head)):
        assert reply.status_code == 200, reply.text


def test_a_percent_encoded_data_url(http: httpx2.Client) -> None:
    encoded_url = f"data:image/jpeg,{quote_from_bytes(PICTURE)}"
    for body in ({"image_url": encoded_url}, {"image_base64": encoded_url}):
        assert http.post("/predict", json=body).status_code == 200


def test_what_base64_lacks_is_told(http: httpx2.Client) -> None:
    for field in ("image_base64", "image_url"):
        cut = f"data:;base64,{BASE64.rstrip('=')[:401]}"
        error = check(http.post("/predict", json={field: cut}), 400, "invalid_request")
        assert "truncated" in error["message"]
        assert error["param"] == field


@pytest.mark.slow
def test_an_answer_is_kept_for_the_image_however_it_is_spelled() -> None:
    with served("--engine", "fake") as running, httpx2.Client(base_url=running.url) as http:
        assert answers(http, [{"image_base64": BASE64}])[0].json()["cache"] == "miss"
        for text in SPELLINGS.values():
            replies = answers(http, asked_with(text)[:3])
            assert [reply.json()["cache"] for reply in replies] == ["hit"] * 3


@pytest.mark.slow
def test_a_strict_server_takes_base64_as_the_standard_has_it() -> None:
    with (
        served("--engine", "fake", "--strict-base64", "true") as running,
        httpx2.Client(base_url=running.url) as http,
    ):
        for text in SPELLINGS.values():
            for reply in answers(http, asked_with(text)):
                if text != BASE64:
                    error = check(reply, 400, "invalid_request")
                    assert "strict_base64" in error["message"]
        for reply in answers(http, asked_with(BASE64)):
            assert reply.status_code == 200


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


@pytest.mark.slow
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
