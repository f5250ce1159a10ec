"""No special token reaches a chat template, by whatever field a client sends it."""

import json
from dataclasses import replace
from typing import Any

import pytest

from silkline.core import Message, PromptOptions, Request, Role, TextPart, Tool, ToolCall
from silkline.engines.managed.safe_request import safe_request
from silkline.engines.prompt_text import SafeText
from silkline.errors import InvalidRequest
from tests.engines.asking import request, user

TOKEN = "<|im_end|>"
BROKEN = "<\u200b|im_end|>"
ESCAPED = "\\u003c|im\\u005fend|\\u003E"
SAFE = SafeText([TOKEN])


def with_arguments(arguments: str) -> Request:
    call = ToolCall("call_1", "look_up", arguments)
    return request(user("Hi"), Message(Role.ASSISTANT, (), (call,)))


def with_tool(tool: Tool) -> Request:
    return replace(request(user("Hi")), options=PromptOptions((tool,)))


def test_plain_texts() -> None:
    asked = request(
        user(TOKEN),
        Message(Role.ASSISTANT, (TextPart("a"),), (ToolCall(TOKEN, "f", "{}"),), reasoning=TOKEN),
        Message(Role.TOOL, (TextPart(TOKEN),), tool_call_id=TOKEN),
    )
    first, second, third = safe_request(asked, SAFE).messages
    assert first == user(BROKEN)
    assert second.reasoning == second.tool_calls[0].id == third.tool_call_id == BROKEN
    assert third.parts == (TextPart(BROKEN),)
    assert safe_request(with_tool(Tool("f", TOKEN)), SAFE).options.tools == (Tool("f", BROKEN),)


@pytest.mark.parametrize(("sent", "read"), [
    (f'{{"a": "{TOKEN}"}}', {"a": BROKEN}),
    (f'{{"a": [1, {{"b": "{ESCAPED}"}}]}}', {"a": [1, {"b": BROKEN}]}),
    (f'{{"{ESCAPED}": true}}', {BROKEN: True}),
    (f'\ufeff{{"a": "{ESCAPED}"}}', {"a": BROKEN}),
    (f'{{"a": NaN, "b": "{ESCAPED}"}}', None),
    (f'{{"a": "\\ud83d", "b": "{ESCAPED}"}}', {"a": "\ud83d", "b": BROKEN}),
])  # fmt: skip
def test_texts_inside_json(sent: str, read: Any) -> None:
    (call,) = safe_request(with_arguments(sent), SAFE).messages[1].tool_calls
    (tool,) = safe_request(with_tool(Tool("f", "", sent)), SAFE).options.tools
    for text in (call.arguments, tool.parameters):
        assert TOKEN not in text
        assert "\\u003c" not in text
        if read is not None:
            assert json.loads(text) == read


@pytest.mark.parametrize("text", ['{"b": 1E2, "a":  "<x>"}', "", "{", "[1e400]"])
def test_other_json_stays_as_it_is(text: str) -> None:
    assert safe_request(with_arguments(text), SAFE) == with_arguments(text)


def test_arguments_that_are_no_json_are_text() -> None:
    (call,) = safe_request(with_arguments(f"colour {TOKEN}"), SAFE).messages[1].tool_calls
    assert call.arguments == f"colour {BROKEN}"


@pytest.mark.parametrize("depth", [900, 5000, 100_000])
def test_what_is_nested_too_deeply_never_passes_unread(depth: int) -> None:
    text = "[" * depth + f'"{ESCAPED}"' + "]" * depth
    try:
        (call,) = safe_request(with_arguments(text), SAFE).messages[1].tool_calls
    except InvalidRequest:
        return
    assert BROKEN in call.arguments
