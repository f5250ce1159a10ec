"""Every field and value of the official client's types: taken, or refused by its name.

The lists come from the client's own types, so that a newer client shows what is missing here.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Literal, Union

import httpx2
import openai.types.chat as client_types
import pytest
import typing_extensions
from openai.types.chat import completion_create_params

from tests.gateway.asking import MODEL, asked
from tests.gateway.test_bad_input import check
from tests.pictures import data_url, encoded

CHAT = "/v1/chat/completions"
URL = data_url(encoded())
BODY_TYPES = (
    completion_create_params.CompletionCreateParamsNonStreaming,
    completion_create_params.CompletionCreateParamsStreaming,
)

REFUSED: Mapping[str, Callable[[Any], bool]] = {
    "modalities": lambda value: value != ["text"],
    "functions": bool,
    "function_call": lambda value: value not in ("none", "auto"),
    "tools": lambda value: value[0]["type"] != "function",
    "tool_calls": lambda value: value[0]["type"] != "function",
    "tool_choice": lambda value: isinstance(value, dict) and value["type"] != "function",
    "logit_bias": bool,  # the example has no token id
    "response_format": lambda value: (
        value["type"] == "json_schema"
    ),  # the example has a keyword `a`
    "audio": lambda _: True,
    "moderation": lambda _: True,
    "web_search_options": lambda _: True,
}
"""Whether a value asks for what is not supported; fields that are not listed never do."""

NEEDED: Mapping[str, dict[str, Any]] = {
    "top_logprobs": {"logprobs": True},
    "tool_choice": {"tools": [{"type": "function", "function": {"name": "a"}}]},
}
"""What some fields need beside them."""


def examples(hint: Any) -> list[Any]:
    """Values of a type: all of a Literal, each member of a union, one of any other type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in {Union, types.UnionType}:
        return [value for member in arguments for value in examples(member)]
    if origin is Literal:
        return list(arguments)
    if typing_extensions.is_typeddict(hint):
        fields = typing_extensions.get_type_hints(hint)
        return [{name: value[0] for name, each in fields.items() if (value := examples(each))}]
    if origin is dict:
        return [{key: examples(arguments[1])[0] for key in ("a",)}]
    if origin is not None:  # a list, an iterable, a sequence
        return [[value] for value in examples(arguments[-1])] or [[]]
    plain: dict[Any, list[Any]] = {
        str: ["a"],
        bool: [True, False],
        int: [1, 0],
        float: [0.5, 0.0, 1.0],
        type(None): [None],
    }
    return plain.get(hint, [{}])


def fields_of(*kinds: Any) -> dict[str, Any]:
    """The fields of TypedDicts with their types."""
    return {
        name: hint
        for kind in kinds
        for name, hint in typing_extensions.get_type_hints(kind).items()
    }


def cases(fields: Mapping[str, Any], *without: str) -> list[Any]:
    return [
        pytest.param(name, value, id=f"{name}={str(value)[:40]}")
        for name, hint in fields.items()
        if name not in without
        for value in [None, *(one for one in examples(hint) if one is not None)]
    ]


def see(http: httpx2.Client, body: dict[str, Any], place: str, value: Any) -> None:
    """Sends a body; `value` stands at `place` in it, a path in the API's words."""
    reply = http.post(CHAT, json=body)
    name = place.rpartition(".")[2]
    if value is not None and REFUSED.get(name, lambda _: False)(value):
        error = check(reply, 400, "invalid_request")
        assert error["param"].startswith(place)
        assert error["param"] in error["message"] or name == "response_format"
    else:
        assert reply.status_code == 200, reply.text
        assert "x-silkline-ignored" not in reply.headers


def usual(name: str, value: Any) -> Any:
    """A value that may be sent, where the type says too little: 0 tokens are none."""
    return (
        1 if name in {"max_tokens", "max_completion_tokens", "n", "top_p"} and value == 0 else value
    )


@pytest.mark.parametrize(("name", "value"), cases(fields_of(*BODY_TYPES), "model", "messages"))
def test_a_field_of_the_body(http: httpx2.Client, name: str, value: Any) -> None:
    see(http, asked(**{name: usual(name, value)}, **NEEDED.get(name, {})), name, value)


ROLES = {
    "developer": client_types.ChatCompletionDeveloperMessageParam,
    "system": client_types.ChatCompletionSystemMessageParam,
    "user": client_types.ChatCompletionUserMessageParam,
    "assistant": client_types.ChatCompletionAssistantMessageParam,
}


@pytest.mark.parametrize("role", ROLES)
def test_the_fields_of_a_message(http: httpx2.Client, role: str) -> None:
    for case in cases(fields_of(ROLES[role]), "role", "content"):
        name, value = case.values
        message = {"role": role, "content": "Hello", name: value}
        body = {"model": MODEL, "messages": [message, *asked()["messages"]]}
        if name == "function_call" and value is not None:
            error = check(http.post(CHAT, json=body), 400, "invalid_request")
            assert error["param"] == "messages.0.function_call"
        else:
            see(http, body, f"messages.0.{name}", value)


PARTS = {
    "text": client_types.ChatCompletionContentPartTextParam,
    "image_url": client_types.ChatCompletionContentPartImageParam,
    "refusal": client_types.ChatCompletionContentPartRefusalParam,
    "file": client_types.chat_completion_content_part_param.File,
}
WHOLE: dict[str, dict[str, Any]] = {
    "text": {"type": "text", "text": "Hello"},
    "image_url": {"type": "image_url", "image_url": {"url": URL}},
    "refusal": {"type": "refusal", "refusal": "No."},
    "file": {"type": "file", "file": {"file_data": URL}},
}


@pytest.mark.parametrize("kind", PARTS)
def test_the_fields_of_a_content_part(http: httpx2.Client, kind: str) -> None:
    for case in cases(fields_of(PARTS[kind]), *WHOLE[kind]):
        name, value = case.values
        message = {"role": "user", "content": [{**WHOLE[kind], name: value}]}
        see(http, {"model": MODEL, "messages": [message]}, f"messages.0.content.0.{name}", value)


def test_the_fields_of_an_image_url(http: httpx2.Client) -> None:
    fields = fields_of(PARTS["image_url"])["image_url"]
    for case in cases(fields_of(fields), "url"):
        name, value = case.values
        part = {"type": "image_url", "image_url": {"url": URL, name: value}}
        body = {"model": MODEL, "messages": [{"role": "user", "content": [part]}]}
        see(http, body, f"messages.0.content.0.image_url.{name}", value)


def test_the_fields_of_stream_options(http: httpx2.Client) -> None:
    options = fields_of(client_types.ChatCompletionStreamOptionsParam)
    for case in cases(options):
        name, value = case.values
        see(http, asked(stream=True, stream_options={name: value}), "stream_options", value)


def test_a_type_or_a_role_that_is_not_supported_is_named(http: httpx2.Client) -> None:
    """All others of the client's unions are of the lists above."""
    parts = {
        typing.get_args(fields_of(kind)["type"])[0]
        for kind in typing.get_args(client_types.ChatCompletionContentPartParam)
    }
    for kind in parts - {*PARTS, "file"}:
        body = {"model": MODEL, "messages": [{"role": "user", "content": [{"type": kind}]}]}
        error = check(http.post(CHAT, json=body), 400, "invalid_request")
        assert error["param"] == "messages.0.content.0.type"
    roles = {
        typing.get_args(fields_of(kind)["role"])[0]
        for kind in typing.get_args(client_types.ChatCompletionMessageParam)
    }
    for role in roles - {*ROLES, "tool"}:
        body = {"model": MODEL, "messages": [{"role": role, "content": "Hello"}]}
        error = check(http.post(CHAT, json=body), 400, "invalid_request")
        assert error["param"] == "messages.0.role"
