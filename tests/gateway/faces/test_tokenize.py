"""The tokens of prompts: `/tokenize`, and `/v1/messages/count_tokens` with the official client."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic import Anthropic

from tests.gateway.asking import MODEL, asked, messages
from tests.pictures import data_url, encoded
from tests.serving import Served

RED_MUG = [98, 258, 263]
"""The fake engine's tokens of "a red mug"."""


@pytest.fixture
def client(gateway: Served) -> Iterator[Anthropic]:
    with Anthropic(base_url=gateway.url, api_key="none", max_retries=0) as client:
        yield client


def tokens(http: httpx2.Client, **body: Any) -> dict[str, Any]:
    reply = http.post("/tokenize", json=body)
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


def test_the_tokens_of_a_text(http: httpx2.Client) -> None:
    found = tokens(http, model=MODEL, prompt="a red mug")
    assert found == {"count": 3, "max_model_len": 8192, "tokens": RED_MUG, "token_strs": None}


def test_the_tokens_of_a_chat_are_those_of_its_completion(http: httpx2.Client) -> None:
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    for body in (
        {"messages": messages(text="a red mug")},
        {"messages": messages(data_url(encoded()), text="a red mug")},
        {"messages": messages(text="a red mug"), "tools": [tool]},
    ):
        found = tokens(http, **body)
        usage = http.post("/v1/chat/completions", json=body).json()["usage"]
        assert found["count"] == len(found["tokens"]) == usage["prompt_tokens"]
        assert found["tokens"][-3:] == RED_MUG


def test_it_says_what_it_takes(http: httpx2.Client) -> None:
    hello = messages(text="Hello")
    for body, param in (
        ({}, "prompt"),
        ({"prompt": "a", "messages": hello}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": "a", "add_special_tokens": False}, "add_special_tokens"),
        ({"messages": hello, "add_special_tokens": True}, "add_special_tokens"),
        ({"prompt": "a", "return_token_strs": True}, "return_token_strs"),
    ):
        reply = http.post("/tokenize", json=body)
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, param), body


def test_tokens_cannot_be_turned_into_text(http: httpx2.Client) -> None:
    reply = http.post("/detokenize", json={"tokens": RED_MUG})
    assert reply.status_code == 404
    assert "model's own tokenizer" in reply.json()["error"]["message"]


def test_a_message_has_as_many_tokens_as_were_counted(client: Anthropic) -> None:
    data = base64.b64encode(encoded()).decode()
    image = {"type": "base64", "media_type": "image/jpeg", "data": data}
    content: Any = [{"type": "image", "source": image}, {"type": "text", "text": "What is this?"}]
    asking: Any = {
        "model": MODEL,
        "messages": [{"role": "user", "content": content}],
        "system": "Be brief.",
        "tools": [{"name": "weather", "input_schema": {"type": "object"}}],
        "thinking": {"type": "adaptive"},
    }
    counted = client.messages.count_tokens(**asking).input_tokens
    assert counted == client.messages.create(max_tokens=4, **asking).usage.input_tokens


def test_counting_refuses_what_a_message_does(client: Anthropic) -> None:
    hello: Any = [{"role": "user", "content": "Hello"}]
    with pytest.raises(anthropic.NotFoundError) as refused:
        client.messages.count_tokens(model="no-such-model", messages=hello)
    assert refused.value.type == "not_found_error"


def test_a_long_prompt_is_counted(http: httpx2.Client) -> None:
    assert tokens(http, prompt="a red mug" * 5000)["count"] > 8192
    assert http.post("/v1/completions", json={"prompt": "a red mug" * 5000}).status_code == 400


def test_a_chat_still_needs_a_token(http: httpx2.Client) -> None:
    assert http.post("/v1/chat/completions", json=asked(max_tokens=0)).status_code == 400
