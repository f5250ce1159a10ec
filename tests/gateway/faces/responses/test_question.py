"""A body of the Responses API asks the same question as a chat completion."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from silkline.cache.policy import CacheUse
from silkline.core import ConstraintKind
from silkline.errors import InvalidRequest
from silkline.gateway.body import decode
from silkline.gateway.faces.chat_schema import ChatRequest
from silkline.gateway.faces.responses.schema import ResponsesRequest
from silkline.service.question import Question

SCHEMA = {"type": "object", "properties": {"b": {"type": "string"}, "a": {"type": "number"}}}
NAMED = {"name": "product", "schema": SCHEMA, "strict": True, "description": "A product."}
TOOL = {"name": "look", "description": "Looks.", "parameters": SCHEMA, "strict": True}


def of_responses(**fields: Any) -> Question:
    body = msgspec.json.encode({"input": "Hello", **fields})
    request, _ = decode(body, ResponsesRequest)
    items = [(f"input.{index}", item) for index, item in enumerate(request.items)]
    return request.question(items, CacheUse.NORMAL)  # type: ignore[arg-type]


def of_chat(**fields: Any) -> Question:
    messages = [{"role": "user", "content": "Hello"}]
    request, _ = decode(msgspec.json.encode({"messages": messages, **fields}), ChatRequest)
    return request.question(CacheUse.NORMAL)


SHARED: list[dict[str, Any]] = [
    {"seed": 5, "temperature": 1.5, "top_p": 0.5, "stop": ["a", "b"]},
    {"top_k": 5, "min_p": 0.5, "repetition_penalty": 1.5},
    {"frequency_penalty": 1, "presence_penalty": -1, "logit_bias": {"5": 1}},
    {"min_tokens": 3, "ignore_eos": True, "stop_token_ids": [5]},
    {"guided_regex": "a+"},
    {"structured_outputs": {"choice": ["a", "b"]}},
    {"enable_thinking": True},
    {"chat_template_kwargs": {"enable_thinking": False}},
    {"parallel_tool_calls": False},
    {"model": "m", "stream": True},
]

OTHER_NAMES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"max_output_tokens": 5}, {"max_tokens": 5}),
    ({"text": {"format": {"type": "text"}}}, {"response_format": {"type": "text"}}),
    ({"text": {"format": {"type": "json_object"}}}, {"response_format": {"type": "json_object"}}),
    (
        {"text": {"format": {"type": "json_schema", **NAMED}, "verbosity": "low"}},
        {"response_format": {"type": "json_schema", "json_schema": NAMED}, "verbosity": "low"},
    ),
    (
        {"tools": [{"type": "function", **TOOL}], "tool_choice": "required"},
        {"tools": [{"type": "function", "function": TOOL}], "tool_choice": "required"},
    ),
    (
        {
            "tools": [{"type": "function", **TOOL}],
            "tool_choice": {"type": "function", "name": "look"},
        },
        {
            "tools": [{"type": "function", "function": TOOL}],
            "tool_choice": {"type": "function", "function": {"name": "look"}},
        },
    ),
    ({"reasoning": {"effort": "none", "summary": "auto"}}, {"reasoning_effort": "none"}),
    ({"reasoning": {"effort": "high"}}, {"reasoning_effort": "high"}),
    (
        {"include": ["message.output_text.logprobs"], "top_logprobs": 3},
        {"logprobs": True, "top_logprobs": 3},
    ),
    ({"include": ["message.output_text.logprobs"]}, {"logprobs": True}),
    ({"top_logprobs": 3}, {"logprobs": True, "top_logprobs": 3}),
    ({"metadata": {"a": "b"}, "store": True, "truncation": "auto"}, {}),
]


@pytest.mark.parametrize("fields", SHARED)
def test_fields_with_one_name(fields: dict[str, Any]) -> None:
    assert of_responses(**fields) == of_chat(**fields)
    assert of_responses(**fields) != of_chat()


@pytest.mark.parametrize(("fields", "as_chat"), OTHER_NAMES)
def test_fields_with_other_names(fields: dict[str, Any], as_chat: dict[str, Any]) -> None:
    assert of_responses(**fields) == of_chat(**as_chat)


def test_a_schema_constrains_the_answer() -> None:
    constraint = of_responses(text={"format": {"type": "json_schema", **NAMED}}).sampling.constraint
    assert constraint is not None
    assert constraint.kind is ConstraintKind.JSON_SCHEMA
    properties = '{"b":{"type":"string"},"a":{"type":"number"}}'
    assert constraint.text == f'{{"type":"object","properties":{properties}}}'
    assert (constraint.name, constraint.description) == ("product", "A product.")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"text": {"format": {"type": "json_object"}}, "guided_regex": "a"}, "text.format"),
        (
            {
                "text": {
                    "format": {"type": "json_schema", "name": "a", "schema": {"a": "b" * 70_000}}
                }
            },
            "text.format",
        ),
    ],
)
def test_wrong_constraints_are_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        of_responses(**fields)
    assert caught.value.param == param


def test_null_is_as_absent() -> None:
    fields: dict[str, Any] = dict.fromkeys(ResponsesRequest.__struct_fields__)
    fields.pop("input")
    assert of_responses(**fields) == of_responses()


def said(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def thought(text: str) -> dict[str, Any]:
    return {"type": "reasoning", "summary": [{"type": "summary_text", "text": text}]}


CALL = {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"}
THOUGHT = thought("hm")
NO_THOUGHT = {"type": "reasoning", "summary": []}


@pytest.mark.parametrize(
    ("items", "turns"),
    [
        ([said("a"), said("b")], [("a", 0, ""), ("b", 0, "")]),
        ([said("a"), CALL, CALL, said("b")], [("a", 2, ""), ("b", 0, "")]),
        ([THOUGHT, said("a"), THOUGHT, CALL], [("a", 0, "hm"), ("", 1, "hm")]),
        ([CALL, THOUGHT, THOUGHT, said("a")], [("", 1, ""), ("a", 0, "hmhm")]),
        ([THOUGHT], [("", 0, "hm")]),
        ([THOUGHT, said("a"), said("b")], [("a", 0, "hm"), ("b", 0, "")]),
        ([NO_THOUGHT, said("a"), NO_THOUGHT], [("a", 0, "")]),
        ([thought(str(n)) for n in range(2000)], [("", 0, "".join(map(str, range(2000))))]),
    ],
)
def test_the_items_of_one_answer_are_one_message(
    items: list[dict[str, Any]], turns: list[tuple[str, int, str]]
) -> None:
    messages = of_responses(input=items).messages
    assert [
        (message.parts[0].text, len(message.tool_calls), message.reasoning)  # type: ignore[union-attr]
        for message in messages
    ] == turns
