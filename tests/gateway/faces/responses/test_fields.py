"""Fields of the Responses API: taken, ignored and named, or refused by their name."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from openai.types.responses import response_create_params as params

from tests.gateway.asking import MODEL
from tests.gateway.faces.responses.asking import RESPONSES, asked, checked_response
from tests.gateway.test_client_fields import cases, fields_of
from tests.pictures import data_url, encoded

URL = data_url(encoded())

BODY_TYPES = (
    params.ResponseCreateParamsNonStreaming,
    params.ResponseCreateParamsStreaming,
)

REFUSED: dict[str, Any] = {
    "background": True,
    "conversation": "conv_1",
    "moderation": {"model": "a"},
    "prompt": {"id": "p"},
}
"""Fields of the client's type that are not supported, and a value that is refused."""

NOT_FOLLOWED = {"access_programs", "background_options", "include", "truncation"}
"""Fields that may be named in the header as ignored."""


def refused(http: httpx2.Client, body: dict[str, Any], param: str | None) -> str:
    """Sends a body that is refused; returns the message."""
    reply = http.post(RESPONSES, json=body)
    assert reply.status_code == 400, reply.text
    error = reply.json()["error"]
    assert error["param"] == param
    assert error["code"] == "invalid_request"
    return str(error["message"])


@pytest.mark.parametrize(
    ("name", "value"),
    cases(
        fields_of(*BODY_TYPES),
        "input", "model", "tools", "tool_choice", "text", "reasoning", "stream",
        "previous_response_id", *REFUSED,
    ),
)  # fmt: skip
def test_each_field_of_the_client_is_taken(http: httpx2.Client, name: str, value: Any) -> None:
    if name in {"max_output_tokens", "top_p"} and value == 0:
        value = 1
    reply = http.post(RESPONSES, json=asked(**{name: value}))
    assert reply.status_code == 200, reply.text
    checked_response(reply.json())
    ignored = reply.headers.get("x-silkline-ignored", "")
    assert {name.partition(".")[0] for name in ignored.split(",") if name} <= NOT_FOLLOWED


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_supported_is_refused_by_name(http: httpx2.Client, name: str) -> None:
    assert name in refused(http, asked(**{name: REFUSED[name]}), name)
    absent: dict[str, Any] = {name: None}
    assert http.post(RESPONSES, json=asked(**absent)).status_code == 200


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("messages", "input"),
        ("max_tokens", "max_output_tokens"),
        ("max_completion_tokens", "max_output_tokens"),
        ("response_format", "text with format"),
        ("reasoning_effort", "reasoning with effort"),
    ],
)
def test_a_field_of_the_chat_api_names_the_one_here(
    http: httpx2.Client, name: str, instead: str
) -> None:
    sent: dict[str, Any] = {name: 5}
    assert f"Send {instead}." in refused(http, asked(**sent), name)


@pytest.mark.parametrize(
    ("fields", "ignored"),
    [
        ({"truncation": "auto"}, "truncation"),
        ({"truncation": "disabled"}, None),
        ({"include": ["reasoning.encrypted_content"]}, "include"),
        ({"include": ["message.output_text.logprobs", "message.input_image.image_url"]}, None),
        ({"mood": "calm"}, "mood"),
        ({"metadata": {"a": "b"}, "user": "u", "service_tier": "auto"}, None),
    ],
)
def test_what_is_not_followed_is_named(
    http: httpx2.Client, fields: dict[str, Any], ignored: str | None
) -> None:
    reply = http.post(RESPONSES, json=asked(**fields))
    assert reply.status_code == 200
    assert reply.headers.get("x-silkline-ignored") == ignored
    assert reply.json()["truncation"] == "disabled"


MESSAGE = {"role": "user", "content": "Hello"}


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        ([], "input"),
        (5, "input"),
        ([{"type": "message", "role": "tool", "content": "a"}], "input.0.role"),
        ([{"role": "user"}], "input.0"),
        ([MESSAGE, {"type": "web_search_call", "id": "a"}], "input.1.type"),
        ([{"type": "function_call_output", "output": "a"}], "input.0"),
        ([{"type": "function_call", "call_id": "c", "arguments": "{}"}], "input.0"),
        ([{"role": "user", "content": [{"type": "video", "text": "a"}]}], "input.0.content.0.type"),
        ([{"role": "user", "content": [{"type": "input_image"}]}], "input.0.content.0"),
        (
            [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}],
            "input.0.content.0.file_id",
        ),
        (
            [{"role": "user", "content": [{"type": "input_image", "image_url": "a b"}]}],
            "input.0.content.0.image_url",
        ),
        (
            [
                {
                    "role": "user",
                    "content": [{"type": "input_image", "image_url": URL, "detail": "best"}],
                }
            ],
            "input.0.content.0.detail",
        ),
        (
            [
                {
                    "type": "function_call_output",
                    "call_id": "c",
                    "output": [{"type": "input_image", "image_url": "data:,x"}],
                }
            ],
            "input.0.output.0.image_url",
        ),
    ],
)
def test_a_wrong_input_is_refused(http: httpx2.Client, sent: Any, param: str) -> None:
    reply = http.post(RESPONSES, json={"model": MODEL, "input": sent})
    assert reply.status_code == 400, reply.text
    assert reply.json()["error"]["param"] == param


def test_there_must_be_an_input(http: httpx2.Client) -> None:
    assert "`input`" in refused(http, {"model": MODEL}, None)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"metadata": {"a": 1}}, "metadata"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort"),
        ({"truncation": "end"}, "truncation"),
    ],
)
def test_a_wrong_value_is_refused(http: httpx2.Client, fields: dict[str, Any], param: str) -> None:
    refused(http, asked(**fields), param)
