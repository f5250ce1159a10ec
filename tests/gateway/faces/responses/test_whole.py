"""Whole responses, asked for by the official client."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from openai import OpenAI

from tests.gateway.asking import MODEL
from tests.gateway.asking import asked as chat
from tests.gateway.faces.responses.asking import RESPONSES, asked, checked_response, user
from tests.ingress.documents import COLOURS, pdf
from tests.pictures import data_url, encoded
from tests.serving import served

URL = data_url(encoded())


@pytest.fixture(scope="module")
def caching() -> Iterator[httpx2.Client]:
    with (
        served("--engine", "fake", "--engine-options", "mode=echo") as running,
        httpx2.Client(base_url=running.url, timeout=30) as client,
    ):
        yield client


def test_the_official_client_gets_a_response(openai: OpenAI) -> None:
    response = openai.responses.create(model=MODEL, input="Hello")
    assert response.status == "completed"
    assert response.output_text
    (message,) = response.output
    assert message.type == "message"
    assert message.role == "assistant"
    assert response.usage is not None
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens


def test_a_response_has_all_that_the_type_has(http: httpx2.Client) -> None:
    settings: dict[str, Any] = {
        "instructions": "Be brief.",
        "max_output_tokens": 50,
        "metadata": {"order": "1"},
        "parallel_tool_calls": False,
        "reasoning": {"summary": "auto"},
        "safety_identifier": "s",
        "prompt_cache_key": "k",
        "temperature": 0.5,
        "text": {"format": {"type": "text"}, "verbosity": "low"},
        "top_p": 0.9,
        "user": "u",
    }
    response = checked_response(http.post(RESPONSES, json=asked(URL, **settings)).json())
    shown = {name: response[name] for name in settings if name != "reasoning"}
    assert shown == {name: value for name, value in settings.items() if name != "reasoning"}
    assert response["reasoning"] == {"effort": None, "summary": None}
    assert response["usage"]["input_tokens_details"]["image_tokens"] == 16
    assert response["error"] is None
    assert response["incomplete_details"] is None
    assert response["store"] is False
    assert set(response["silkline"]) >= {"cache", "model", "pixel_budget", "timeline"}


def test_the_defaults_of_a_response(http: httpx2.Client) -> None:
    response = checked_response(http.post(RESPONSES, json={"input": "Hello"}).json())
    assert response["text"] == {"format": {"type": "text"}, "verbosity": "medium"}
    assert response["tools"] == []
    assert response["tool_choice"] == "auto"
    assert response["truncation"] == "disabled"
    assert response["temperature"] == 0
    assert response["metadata"] == {}
    assert response["model"] == MODEL


def test_an_answer_that_is_cut_is_incomplete(openai: OpenAI) -> None:
    response = openai.responses.create(model=MODEL, input="Hello", max_output_tokens=2)
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    assert response.output[0].status == "incomplete"  # type: ignore[union-attr]
    assert response.usage is not None
    assert response.usage.output_tokens == 2


def test_an_answer_without_text_is_an_empty_message(http: httpx2.Client) -> None:
    text = http.post(RESPONSES, json=asked()).json()["output"][0]["content"][0]["text"]
    response = http.post(RESPONSES, json=asked(stop=text.split()[0])).json()
    assert response["status"] == "completed"
    assert response["output"][0]["content"][0]["text"] == ""


PART = {"type": "input_text", "text": "a"}
CALL = {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"}
CHAT_CALL = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
THOUGHT = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [],
    "content": [{"type": "reasoning_text", "text": "hm"}],
}
SUMMED = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]}
SAID = {
    "type": "message",
    "id": "msg_1",
    "status": "completed",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "b", "annotations": [], "logprobs": []}],
}

SAME: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"input": "one"}, {"messages": [{"role": "user", "content": "one"}]}),
    (
        {"input": [{"role": "user", "content": "two"}], "instructions": "i"},
        {"messages": [{"role": "system", "content": "i"}, {"role": "user", "content": "two"}]},
    ),
    (
        {"input": [{"type": "message", "role": "developer", "content": [PART]}, *user(URL)]},
        {
            "messages": [
                {"role": "developer", "content": "a"},
                *chat(URL)["messages"],
            ]
        },
    ),
    (
        {"input": [*user(), SAID, {"role": "user", "content": "three"}], "max_output_tokens": 7},
        {
            "messages": [
                *chat()["messages"],
                {"role": "assistant", "content": "b"},
                {"role": "user", "content": "three"},
            ],
            "max_tokens": 7,
        },
    ),
    (
        {
            "input": [
                *user(),
                THOUGHT,
                SAID,
                CALL,
                {"type": "function_call_output", "call_id": "c", "output": [PART]},
            ]
        },
        {
            "messages": [
                *chat()["messages"],
                {
                    "role": "assistant",
                    "content": "b",
                    "reasoning_content": "hm",
                    "tool_calls": [CHAT_CALL],
                },
                {"role": "tool", "tool_call_id": "c", "content": "a"},
            ]
        },
    ),
    (
        {
            "input": [
                *user(),
                SUMMED,
                CALL,
                {"type": "function_call_output", "call_id": "c", "output": "four"},
            ]
        },
        {
            "messages": [
                *chat()["messages"],
                {"role": "assistant", "reasoning_content": "hm", "tool_calls": [CHAT_CALL]},
                {"role": "tool", "tool_call_id": "c", "content": "four"},
            ]
        },
    ),
    (
        {"input": "five", "temperature": 0.5, "seed": 3, "top_p": 0.5, "stop": ["x"]},
        {
            "messages": [{"role": "user", "content": "five"}],
            "temperature": 0.5,
            "seed": 3,
            "top_p": 0.5,
            "stop": ["x"],
        },
    ),
]


@pytest.mark.parametrize(("body", "as_chat"), SAME)
def test_the_same_question_in_both_apis_is_answered_once(
    caching: httpx2.Client, body: dict[str, Any], as_chat: dict[str, Any]
) -> None:
    answer = caching.post("/v1/chat/completions", json=as_chat)
    assert answer.status_code == 200, answer.text
    response = caching.post(RESPONSES, json=body)
    assert response.status_code == 200, response.text
    assert response.json()["silkline"]["cache"] == "hit"
    assert response.headers["x-silkline-cache"] == "hit"
    text = answer.json()["choices"][0]["message"]["content"]
    assert response.json()["output"][0]["content"][0]["text"] == text


@pytest.mark.parametrize(
    "body",
    [
        {"input": "six"},
        {"input": "six", "instructions": ""},
        {"input": [{"role": "system", "content": "six"}]},
        {"input": [{"role": "assistant", "content": "six"}, *user()]},
        {"input": [SUMMED, {"role": "assistant", "content": "six"}, *user()]},
        {"input": "six", "max_output_tokens": 3},
        {"input": "six", "stop": "s"},
    ],
)
def test_other_questions_share_no_answer(caching: httpx2.Client, body: dict[str, Any]) -> None:
    assert caching.post(RESPONSES, json=body).json()["silkline"]["cache"] == "miss"


def test_a_document_has_an_image_for_each_page(caching: httpx2.Client) -> None:
    document = base64.b64encode(pdf(*COLOURS)).decode()
    part = {
        "type": "input_file",
        "filename": "a.pdf",
        "file_data": f"data:application/pdf;base64,{document}",
    }
    response = caching.post(RESPONSES, json={"input": [{"role": "user", "content": [part]}]})
    assert response.json()["output"][0]["content"][0]["text"].count("[") == len(COLOURS)


def test_an_image_has_pixels_of_its_own(caching: httpx2.Client) -> None:
    url = data_url(encoded(1000, 1000))
    images = [
        {"type": "input_image", "image_url": url, **fields}
        for fields in ({"detail": "low"}, {"max_pixels": 10_000}, {})
    ]
    body = {
        "input": [{"role": "user", "content": images}],
        "mm_processor_kwargs": {"max_pixels": 40_000},
    }
    text = caching.post(RESPONSES, json=body).json()["output"][0]["content"][0]["text"]
    assert text == "[200x200] [100x100] [200x200]"


def test_all_items_are_in_their_order(caching: httpx2.Client) -> None:
    content = [PART, {"type": "input_image", "image_url": URL, "detail": "low"}, PART]
    response = caching.post(RESPONSES, json={"input": [{"role": "user", "content": content}]})
    text = response.json()["output"][0]["content"][0]["text"]
    assert text.startswith("a [")
    assert text.endswith("] a")


def test_an_idempotency_key_executes_a_request_once(http: httpx2.Client) -> None:
    headers = {"idempotency-key": "responses-1"}
    first = http.post(RESPONSES, json=asked(), headers=headers)
    again = http.post(RESPONSES, json=asked(), headers=headers)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json() == first.json()
    assert http.post(RESPONSES, json=asked(question="?"), headers=headers).status_code == 422
