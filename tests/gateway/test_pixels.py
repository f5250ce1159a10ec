"""The pixel budget of a single image: `detail`, `min_pixels` and `max_pixels`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from openai import OpenAI

from tests.gateway.test_bad_input import check
from tests.pictures import data_url, encoded
from tests.serving import served

CHAT = "/v1/chat/completions"
MODEL_PIXELS = 1024 * 1024
LOW_PIXELS = 512 * 512
LARGE = data_url(encoded(width=1600, height=1000))
SMALL = data_url(encoded(width=100, height=80))


@pytest.fixture(scope="module")
def echo() -> Iterator[httpx2.Client]:
    options = "mode=echo,pixels_per_token=1024,image_tokens=4096"
    with (
        served("--engine", "fake", "--engine-options", options) as running,
        httpx2.Client(base_url=running.url, timeout=30) as client,
    ):
        yield client


def image(url: str = LARGE, **fields: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, **fields}}


def body(*parts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts)}], **fields}


def sizes(reply: httpx2.Response) -> list[tuple[int, int]]:
    """The sizes of the images as the engine saw them."""
    assert reply.status_code == 200, reply.text
    text = reply.json()["choices"][0]["message"]["content"]
    return [(int(width), int(height)) for width, height in re.findall(r"\[(\d+)x(\d+)\]", text)]


def size(echo: httpx2.Client, *parts: dict[str, Any], **fields: Any) -> tuple[int, int]:
    (found,) = sizes(echo.post(CHAT, json=body(*parts, **fields)))
    return found


@pytest.mark.parametrize(
    ("detail", "expected"),
    [("low", (647, 404)), ("high", (1295, 809)), ("auto", (1295, 809)), ("original", (1295, 809))],
)
def test_a_detail_level_sets_the_pixels(
    echo: httpx2.Client, detail: str, expected: tuple[int, int]
) -> None:
    with OpenAI(base_url=str(echo.base_url.join("/v1")), api_key="none", max_retries=0) as client:
        answer = client.chat.completions.create(
            model="silkline-fake", **body(image(detail=detail), stream=False)
        )
    assert answer.choices[0].message.content == f"[{expected[0]}x{expected[1]}]"


PIXELS_BY_FORM = {
    "the image_url object": lambda value: body(image(**value)),
    "the part": lambda value: body({**image(), **value}),
    "mm_processor_kwargs": lambda value: body(image(), mm_processor_kwargs=value),
}


@pytest.mark.parametrize("form", PIXELS_BY_FORM)
def test_max_pixels_reduces_an_image(echo: httpx2.Client, form: str) -> None:
    reply = echo.post(CHAT, json=PIXELS_BY_FORM[form]({"max_pixels": 160_000}))
    assert sizes(reply) == [(505, 316)]
    assert reply.headers["x-silkline-pixel-budget"] == "160000"
    assert reply.json()["silkline"]["pixel_budget"] == 160_000
    assert "x-silkline-ignored" not in reply.headers


@pytest.mark.parametrize("form", PIXELS_BY_FORM)
def test_min_pixels_enlarges_an_image(echo: httpx2.Client, form: str) -> None:
    asked = PIXELS_BY_FORM[form]({"min_pixels": 32_000})
    asked["messages"][0]["content"][0]["image_url"]["url"] = SMALL
    assert sizes(echo.post(CHAT, json=asked)) == [(200, 160)]


def test_min_pixels_changes_no_larger_image(echo: httpx2.Client) -> None:
    assert size(echo, image(SMALL, min_pixels=8000)) == (100, 80)
    assert size(echo, image(SMALL, min_pixels=7999)) == (100, 80)
    assert size(echo, image(SMALL, min_pixels=0)) == (100, 80)


def test_a_budget_never_exceeds_that_of_the_model(echo: httpx2.Client) -> None:
    reply = echo.post(CHAT, json=body(image(max_pixels=10**12, min_pixels=10**12)))
    ((width, height),) = sizes(reply)
    assert width * height <= MODEL_PIXELS
    assert reply.headers["x-silkline-pixel-budget"] == str(MODEL_PIXELS)
    ((width, height),) = sizes(echo.post(CHAT, json=body(image(SMALL, min_pixels=10**12))))
    assert 0.99 * MODEL_PIXELS < width * height <= MODEL_PIXELS


def test_an_image_has_its_own_budget_before_that_of_the_request(echo: httpx2.Client) -> None:
    parts = (image(max_pixels=90_000), image(), image(detail="low"))
    reply = echo.post(CHAT, json=body(*parts, mm_processor_kwargs={"max_pixels": 400_000}))
    pixels = [width * height for width, height in sizes(reply)]
    for found, most in zip(pixels, (90_000, 400_000, LOW_PIXELS), strict=True):
        assert 0.98 * most < found <= most
    assert reply.headers["x-silkline-pixel-budget"] == "90000"
    evidence = reply.json()["silkline"]
    assert evidence["pixel_budget"] == 90_000
    assert evidence["pixel_budgets"] == [90_000, 400_000, LOW_PIXELS]


def test_equal_budgets_are_reported_once(echo: httpx2.Client) -> None:
    reply = echo.post(CHAT, json=body(image(detail="low"), image(SMALL, detail="low")))
    assert "pixel_budgets" not in reply.json()["silkline"]
    assert reply.headers["x-silkline-pixel-budget"] == str(LOW_PIXELS)


def test_a_smaller_budget_costs_fewer_tokens(echo: httpx2.Client) -> None:
    used = [
        echo.post(CHAT, json=body(image(detail=detail))).json()["usage"]["prompt_tokens"]
        for detail in ("low", "high")
    ]
    assert used[0] * 3 < used[1]


@pytest.mark.parametrize("again", [False, True], ids=["new", "known"])
def test_two_budgets_share_an_answer_only_if_the_pixels_are_equal(
    echo: httpx2.Client, again: bool
) -> None:
    """A known image is looked up without being decoded, also by its budget."""
    url = data_url(encoded(900, 700, "blue" if again else "red"))
    small = data_url(encoded(90, 70, "blue" if again else "red"))
    if again:
        for seen in (url, small):
            echo.post(CHAT, json=body(image(seen)))
    replies = [
        echo.post(CHAT, json=body(image(url, **fields)))
        for fields in ({"detail": "high"}, {"detail": "low"}, {"max_pixels": 5000}, {})
    ]
    states = [reply.headers["x-silkline-cache"] for reply in replies]
    assert states == ["hit" if again else "miss", "miss", "miss", "hit"]
    assert len({str(sizes(reply)) for reply in replies}) == 3
    states = [
        echo.post(CHAT, json=body(image(small, **fields))).headers["x-silkline-cache"]
        for fields in ({"detail": "high"}, {"detail": "low"}, {"min_pixels": 50_000})
    ]
    assert states == ["hit" if again else "miss", "hit", "miss"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_pixels": 0}, "image_url.max_pixels"),
        ({"max_pixels": "many"}, "image_url.max_pixels"),
        ({"min_pixels": -1}, "image_url.min_pixels"),
        ({"max_pixels": 100.5}, "image_url.max_pixels"),
        ({"min_pixels": 10, "max_pixels": 9}, "image_url.min_pixels"),
        ({"detail": "huge"}, "image_url.detail"),
    ],
)
def test_a_wrong_budget_is_refused_by_name(
    echo: httpx2.Client, fields: dict[str, Any], param: str
) -> None:
    error = check(echo.post(CHAT, json=body(image(**fields))), 400, "invalid_request")
    assert error["param"] == f"messages.0.content.0.{param}"


def test_a_wrong_budget_of_the_request_is_refused_by_name(echo: httpx2.Client) -> None:
    wrong = {"min_pixels": 10, "max_pixels": 9}
    for asked in (body(image(), mm_processor_kwargs=wrong), body(mm_processor_kwargs=wrong)):
        asked["messages"][0]["content"].append({"type": "text", "text": "Hi"})
        error = check(echo.post(CHAT, json=asked), 400, "invalid_request")
        assert error["param"] == "mm_processor_kwargs.min_pixels"


def test_a_uuid_is_no_identity(echo: httpx2.Client) -> None:
    """It is taken in the part and in its object, and two images with one uuid stay two."""
    parts = [
        {**image(data_url(encoded(width=width)), uuid="same"), "uuid": "same"}
        for width in (311, 312)
    ]
    seen = [echo.post(CHAT, json=body(part)) for part in parts]
    assert [found for reply in seen for found, _ in sizes(reply)] == [311, 312]
    assert all("x-silkline-ignored" not in reply.headers for reply in seen)
    missing = {"type": "image_url", "image_url": None, "uuid": "same"}
    error = check(echo.post(CHAT, json=body(missing)), 400, "invalid_request")
    assert error["param"] == "messages.0.content.0"
    assert "image_url" in error["message"]


@pytest.mark.parametrize("form", [False, True], ids=["JSON", "form"])
def test_predict_takes_the_same_fields(echo: httpx2.Client, form: bool) -> None:
    data = encoded(1600, 1000)

    def predict(**fields: Any) -> httpx2.Response:
        if form:
            return echo.post("/predict", files={"image": ("a.jpg", data)}, data=fields)
        return echo.post("/predict", json={"image_url": data_url(data), **fields})

    for fields, expected in (
        ({"detail": "low"}, "[647x404]"),
        ({"detail": "high"}, "[1295x809]"),
        ({"max_pixels": 160_000, "min_pixels": 1}, "[505x316]"),
    ):
        reply = predict(**fields)
        assert reply.json()["response"].startswith(expected), reply.text
    error = check(predict(max_pixels=5, min_pixels=6), 400, "invalid_request")
    assert error["param"] == "min_pixels"
    error = check(predict(detail="huge"), 400, "invalid_request")
    assert error["param"] == "detail"
    assert "auto, low, high or original" in error["message"]


LOW_MAXIMUM: dict[str, Any] = {"max_pixels": 9}
HIGH_MINIMUM: dict[str, Any] = {"min_pixels": 10}


@pytest.mark.parametrize(
    ("part", "kwargs", "param"),
    [
        (image(**HIGH_MINIMUM), LOW_MAXIMUM, "messages.0.content.0.image_url.min_pixels"),
        ({**image(), **HIGH_MINIMUM}, LOW_MAXIMUM, "messages.0.content.0.min_pixels"),
        ({**image(**LOW_MAXIMUM), **HIGH_MINIMUM}, {}, "messages.0.content.0.min_pixels"),
        (
            {"type": "file", "file": {"file_data": LARGE}, **HIGH_MINIMUM, **LOW_MAXIMUM},
            {},
            "messages.0.content.0.min_pixels",
        ),
        (image(**LOW_MAXIMUM), HIGH_MINIMUM, "mm_processor_kwargs.min_pixels"),
    ],
)
def test_limits_that_contradict_each_other_at_two_places_are_refused(
    echo: httpx2.Client, part: dict[str, Any], kwargs: dict[str, Any], param: str
) -> None:
    reply = echo.post(CHAT, json=body(part, mm_processor_kwargs=kwargs))
    assert check(reply, 400, "invalid_request")["param"] == param
