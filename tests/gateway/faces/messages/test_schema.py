"""What a request of the Anthropic API means: the same question as one of the OpenAI API."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from silkline.cache.policy import CacheUse
from silkline.core import ConstraintKind, ImagePart, Message, Role, TextPart, ToolCall, ToolChoice
from silkline.errors import InvalidRequest
from silkline.gateway.body import decode
from silkline.gateway.faces.chat_schema import ChatRequest
from silkline.gateway.faces.messages.schema import MessagesRequest
from silkline.service.question import Question

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
HELLO = [{"role": "user", "content": "Hello"}]
PIXEL = "iVBORw0KGgo="


def asked(**fields: Any) -> Question:
    body = {"model": "m", "max_tokens": 16, "messages": HELLO, **fields}
    return decode(json.dumps(body).encode(), MessagesRequest)[0].question(CacheUse.NORMAL)


def chatted(**fields: Any) -> Question:
    body = {"model": "m", "max_tokens": 16, "messages": HELLO, **fields}
    return decode(json.dumps(body).encode(), ChatRequest)[0].question(CacheUse.NORMAL)


def refusal(**fields: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        asked(**fields)
    return caught.value


def user(*content: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(content)}]


def text(words: str, **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **fields}


def tool(**fields: Any) -> dict[str, Any]:
    return {"name": "weather", "input_schema": SCHEMA, **fields}


def function(**fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "weather", "parameters": SCHEMA, **fields}}


CALL = {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Bern"}}
CHAT_CALL = {
    "id": "c1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city":"Bern"}'},
}
SAME: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a text": ({}, {}),
    "a stream": ({"stream": True}, {"stream": True}),
    "blocks of text": (
        {"messages": user(text("a"), text("b", cache_control={"type": "ephemeral"}))},
        {"messages": user(text("a"), text("b"))},
    ),
    "a system prompt": (
        {"system": "Be brief."},
        {"messages": [{"role": "system", "content": "Be brief."}, *HELLO]},
    ),
    "a system prompt in blocks": (
        {"system": [text("Be brief.")]},
        {"messages": [{"role": "system", "content": "Be brief."}, *HELLO]},
    ),
    "a system message": (
        {"messages": [*HELLO, {"role": "system", "content": "Be brief."}, *HELLO]},
        {"messages": [*HELLO, {"role": "system", "content": "Be brief."}, *HELLO]},
    ),
    "sampling": (
        {"temperature": 0.5, "top_p": 0.9, "top_k": 40, "stop_sequences": ["a", "b"]},
        {"temperature": 0.5, "top_p": 0.9, "top_k": 40, "stop": ["a", "b"]},
    ),
    "prefill": (
        {"messages": [*HELLO, {"role": "assistant", "content": "The"}]},
        {
            "messages": [*HELLO, {"role": "assistant", "content": "The"}],
            "continue_final_message": True,
        },
    ),
    "tools": (
        {"tools": [tool(description="It rains.", strict=True, type="custom")]},
        {"tools": [function(description="It rains.", strict=True)]},
    ),
    "any tool": (
        {"tools": [tool()], "tool_choice": {"type": "any", "disable_parallel_tool_use": True}},
        {"tools": [function()], "tool_choice": "required", "parallel_tool_calls": False},
    ),
    "one tool": (
        {"tools": [tool()], "tool_choice": {"type": "tool", "name": "weather"}},
        {
            "tools": [function()],
            "tool_choice": {"type": "function", "function": {"name": "weather"}},
        },
    ),
    "no tool": (
        {"tools": [tool()], "tool_choice": {"type": "none"}},
        {"tools": [function()], "tool_choice": "none"},
    ),
    "automatic tools": (
        {"tools": [tool()], "tool_choice": {"type": "auto"}},
        {"tools": [function()]},
    ),
    "a tool's result": (
        {
            "messages": [
                *HELLO,
                {"role": "assistant", "content": [CALL]},
                *user({"type": "tool_result", "tool_use_id": "c1", "content": "Rain"}, text("So?")),
            ]
        },
        {
            "messages": [
                *HELLO,
                {"role": "assistant", "content": None, "tool_calls": [CHAT_CALL]},
                {"role": "tool", "tool_call_id": "c1", "content": "Rain"},
                *user(text("So?")),
            ]
        },
    ),
    "thinking": (
        {"thinking": {"type": "enabled", "budget_tokens": 1024}},
        {"enable_thinking": True},
    ),
    "no thinking": ({"thinking": {"type": "disabled"}}, {"enable_thinking": False}),
    "adaptive thinking": ({"thinking": {"type": "adaptive"}}, {}),
    "effort": ({"output_config": {"effort": "high"}}, {"reasoning_effort": "high"}),
    "former thinking": (
        {
            "messages": [
                *HELLO,
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "Hm", "signature": "x"},
                        {"type": "redacted_thinking", "data": "abc"},
                        text("Hi"),
                    ],
                },
                *HELLO,
            ]
        },
        {
            "messages": [
                *HELLO,
                {"role": "assistant", "content": "Hi", "reasoning_content": "Hm"},
                *HELLO,
            ]
        },
    ),
    "fields without effect": (
        {"metadata": {"user_id": "u"}, "service_tier": "auto", "cache_control": {"type": "x"}},
        {},
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_it_is_the_same_question_as_in_a_chat_completion(name: str) -> None:
    messages, chat = SAME[name]
    found, expected = asked(**messages), chatted(**chat)
    assert found.unset == expected.unset - {"logprobs"}  # this API has none
    assert replace(found, unset=expected.unset) == expected


@pytest.mark.parametrize("field", ["output_config", "output_format"])
def test_a_schema_constrains_the_answer(field: str) -> None:
    form = {"type": "json_schema", "schema": SCHEMA}
    question = asked(**{field: {"format": form} if field == "output_config" else form})
    assert question.sampling.constraint is not None
    assert question.sampling.constraint.kind is ConstraintKind.JSON_SCHEMA
    assert json.loads(question.sampling.constraint.text) == SCHEMA


def test_images_come_by_base64_and_url_also_in_results() -> None:
    image = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    url = {"type": "url", "url": "https://example.com/a.png"}
    result = {
        "type": "tool_result",
        "tool_use_id": "c1",
        "is_error": True,
        "content": [text("Seen:"), {"type": "image", "source": url}],
    }
    call = {"role": "assistant", "content": [CALL]}
    question = asked(messages=[*user({"type": "image", "source": image}), call, *user(result)])
    assert question.messages == (
        Message(Role.USER, (ImagePart(0),)),
        Message(Role.ASSISTANT, (TextPart(""),), (ToolCall("c1", "weather", '{"city":"Bern"}'),)),
        Message(
            Role.TOOL,
            (TextPart("Error:\n"), TextPart("Seen:"), ImagePart(1)),
            tool_call_id="c1",
        ),
    )
    assert [source.param for source in question.sources] == [
        "messages.0.content.0.source.data",
        "messages.2.content.0.content.1.source.url",
    ]


def test_consecutive_turns_of_a_role_are_one_turn() -> None:
    question = asked(messages=[*HELLO, *user(text("World")), {"role": "assistant", "content": "A"}])
    assert question.messages == (
        Message(Role.USER, (TextPart("Hello"), TextPart("\n\n"), TextPart("World"))),
        Message(Role.ASSISTANT, (TextPart("A"),)),
    )


def test_consecutive_turns_of_the_assistant_are_one_turn() -> None:
    question = asked(
        messages=[
            *HELLO,
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm"}, text("A")]},
            {"role": "assistant", "content": [CALL]},
            *user({"type": "tool_result", "tool_use_id": "c1"}),
        ]
    )
    call = ToolCall("c1", "weather", '{"city":"Bern"}')
    assert question.messages[1:] == (
        Message(Role.ASSISTANT, (TextPart("A"), TextPart("")), (call,), reasoning="Hm"),
        Message(Role.TOOL, (TextPart(""),), tool_call_id="c1"),
    )


def test_a_document_of_text_is_text() -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "Once."}
    blocks = {"type": "content", "content": [text("a"), text("b")]}
    question = asked(
        messages=user(
            {"type": "document", "source": source, "title": "Tale"},
            {"type": "document", "source": blocks, "citations": {"enabled": False}},
        )
    )
    assert question.messages[0].parts == tuple(
        map(TextPart, ("Tale\n\n", "Once.", "\n\n", "a", "b", "\n\n")),
    )


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "citations": (
        {
            "messages": user(
                {
                    "type": "document",
                    "source": {"type": "text", "data": "a"},
                    "citations": {"enabled": True},
                }
            )
        },
        "messages.0.content.0.citations",
        "Leave it out",
    ),
    "a file": (
        {"messages": user({"type": "image", "source": {"type": "file", "file_id": "f"}})},
        "messages.0.content.0.source.type",
        "base64 or url",
    ),
    "a search result": (
        {"messages": user({"type": "search_result", "source": "a", "title": "b", "content": []})},
        "messages.0.content.0.type",
        "text, image, document",
    ),
    "a call by the user": ({"messages": user(CALL)}, "messages.0.content.0", "assistant"),
    "a result by the assistant": (
        {
            "messages": [
                *HELLO,
                {"role": "assistant", "content": [{"type": "tool_result", "tool_use_id": "c"}]},
            ]
        },
        "messages.1.content.0",
        "user",
    ),
    "an image of the system": (
        {
            "messages": [
                {
                    "role": "system",
                    "content": [{"type": "image", "source": {"type": "url", "url": "https://a.b"}}],
                }
            ]
        },
        "messages.0.content.0",
        "only texts",
    ),
    "calls without results": (
        {"messages": [*HELLO, {"role": "assistant", "content": [CALL]}]},
        "messages",
        "results",
    ),
    "a server's tool": (
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        "tools.0",
        "no tools run on this server",
    ),
    "two tools of one name": ({"tools": [tool(), tool()]}, "tools", "same name"),
    "a tool that is not there": (
        {"tools": [tool()], "tool_choice": {"type": "tool", "name": "other"}},
        "tool_choice",
        "not in tools",
    ),
    "no max_tokens": ({"max_tokens": None}, "", "max_tokens"),
    "no messages": ({"messages": []}, "messages", ""),
    "no content": ({"messages": user()}, "messages", "Send a text"),
    "a role": (
        {"messages": [{"role": "tool", "content": "a"}]},
        "messages.0.role",
        "user, assistant",
    ),
    "thinking of another type": ({"thinking": {"type": "much"}}, "thinking.type", "adaptive"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_by_name(name: str) -> None:
    fields, param, advice = REFUSED[name]
    error = refusal(**fields)
    assert (error.param or "") == param
    assert advice in error.message


def test_unknown_fields_are_named() -> None:
    body = {"max_tokens": 1, "messages": HELLO, "thinking": {"type": "enabled", "budget_tokens": 2}}
    others = decode(json.dumps(body).encode(), MessagesRequest)[1]
    assert [other.path for other in others] == ["thinking.budget_tokens"]


def test_tools_are_optional() -> None:
    options = asked(tools=[tool()], tool_choice={"type": "none"}).options
    assert options.tool_choice is ToolChoice.NONE
