"""Tools, reasoning and prefill with the official client, on the fake engine."""

import json
from typing import Any

import httpx2
import openai as client
import pytest
from openai import OpenAI

from tests.gateway.asking import MODEL

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "days": {"type": "integer", "minimum": 1},
                "unit": {"enum": ["celsius", "fahrenheit"]},
            },
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    },
}
TIME = {"type": "function", "function": {"name": "get_time"}}
BOTH = [WEATHER, TIME]


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def create(openai: OpenAI, messages: list[Any], **options: Any) -> Any:
    completions: Any = openai.chat.completions
    return completions.create(model=MODEL, messages=messages, **options)


def ask(openai: OpenAI, messages: list[Any], **options: Any) -> Any:
    """The only choice of a whole answer; the streamed answer has the same parts."""
    options = {"temperature": 0, **options}
    choice = create(openai, messages, **options).choices[0]
    assert parts_of(choice) == streamed(openai, messages, **options)
    return choice


def parts_of(choice: Any) -> tuple[Any, ...]:
    message = choice.message
    calls = [
        (call.id, call.function.name, call.function.arguments) for call in message.tool_calls or []
    ]
    reasoning = getattr(message, "reasoning_content", None)
    return message.content or "", reasoning or "", calls, choice.finish_reason


def streamed(openai: OpenAI, messages: list[Any], **options: Any) -> tuple[Any, ...]:
    content = reasoning = finish = ""
    calls: list[list[str]] = []
    for chunk in create(openai, messages, stream=True, **options):
        delta = chunk.choices[0].delta
        content += delta.content or ""
        reasoning += getattr(delta, "reasoning_content", None) or ""
        for call in delta.tool_calls or []:
            if call.id:
                assert call.index == len(calls)
                calls.append([call.id, call.function.name, ""])
            calls[call.index][2] += call.function.arguments
        finish = chunk.choices[0].finish_reason or finish
    return content, reasoning, [tuple(call) for call in calls], finish


def test_a_tool_loop_runs_to_its_end(openai: OpenAI) -> None:
    messages: list[Any] = [user("Use get_weather for Aachen.")]
    called = ask(openai, messages, tools=BOTH)
    assert called.finish_reason == "tool_calls"
    assert called.message.content is None
    (call,) = called.message.tool_calls
    assert call.id.startswith("call_")
    assert call.function.name == "get_weather"
    arguments = json.loads(call.function.arguments)
    assert isinstance(arguments["city"], str)
    assert arguments["days"] >= 1
    assert arguments.get("unit", "celsius") in {"celsius", "fahrenheit"}
    result = {"role": "tool", "tool_call_id": call.id, "content": "rain"}
    messages += [called.message, result]
    answered = ask(openai, messages, tools=BOTH)
    assert answered.finish_reason == "stop"
    assert answered.message.content
    assert answered.message.tool_calls is None
    other = ask(openai, [*messages[:-1], {**result, "content": "sun"}], tools=BOTH)
    assert other.message.content != answered.message.content


def test_several_tools_are_called_at_once(openai: OpenAI) -> None:
    messages = [user("get_weather and get_time, please")]
    called = ask(openai, messages, tools=BOTH)
    assert [call.function.name for call in called.message.tool_calls] == ["get_weather", "get_time"]
    assert len({call.id for call in called.message.tool_calls}) == 2
    one = ask(openai, messages, tools=BOTH, parallel_tool_calls=False)
    assert [call.function.name for call in one.message.tool_calls] == ["get_weather"]


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("auto", []),
        ("none", []),
        ("required", ["get_weather"]),
        ({"type": "function", "function": {"name": "get_time"}}, ["get_time"]),
    ],
)
def test_the_choice_of_tools(openai: OpenAI, choice: Any, names: list[str]) -> None:
    answer = ask(openai, [user("Hello.")], tools=BOTH, tool_choice=choice)
    calls = answer.message.tool_calls or []
    assert [call.function.name for call in calls] == names
    assert answer.finish_reason == ("tool_calls" if names else "stop")
    assert bool(answer.message.content) is not bool(names)


def test_no_tools_are_called_where_the_client_forbids_it(openai: OpenAI) -> None:
    answer = ask(openai, [user("get_time")], tools=BOTH, tool_choice="none")
    assert answer.message.tool_calls is None
    assert answer.message.content


def test_arguments_are_streamed(openai: OpenAI) -> None:
    chunks = create(openai, [user("get_weather")], tools=[WEATHER], stream=True)
    calls = [chunk.choices[0].delta.tool_calls for chunk in chunks]
    assert sum(bool(call) for call in calls) > 2


def test_reasoning_is_apart_from_the_answer_and_counted(openai: OpenAI) -> None:
    plain = ask(openai, [user("Hello.")])
    assert not hasattr(plain.message, "reasoning_content")
    think = {"chat_template_kwargs": {"enable_thinking": True}}
    thought = ask(openai, [user("Hello.")], extra_body=think)
    assert thought.message.reasoning_content
    assert thought.message.content == plain.message.content
    used = [
        create(openai, [user("Hello.")], reasoning_effort=effort).usage
        for effort in ("none", "low", "high")
    ]
    none, low, high = (usage.completion_tokens_details.reasoning_tokens for usage in used)
    assert none == 0
    assert 0 < low < high < used[-1].completion_tokens


def test_reasoning_comes_back_in_the_history(openai: OpenAI) -> None:
    said = {"role": "assistant", "content": "A lamp."}
    messages: list[Any] = [user("What is it?"), said, user("Are you sure?")]
    without = ask(openai, messages)
    messages[1] = {**said, "reasoning_content": "It has a shade."}
    assert ask(openai, messages).message.content != without.message.content


def test_an_answer_continues_the_last_message(openai: OpenAI) -> None:
    whole = ask(openai, [user("Hello.")]).message.content
    start = {"role": "assistant", "content": whole[:9]}
    rest = ask(openai, [user("Hello."), start], extra_body={"continue_final_message": True})
    assert whole[:9] + rest.message.content == whole
    alone = ask(openai, [start], extra_body={"continue_final_message": True})
    assert alone.message.content


def test_a_seed_repeats_the_ids_of_calls(openai: OpenAI) -> None:
    def call_id(**options: Any) -> str:
        answer = create(openai, [user("get_time")], tools=[TIME], **options)
        return str(answer.choices[0].message.tool_calls[0].id)

    assert call_id(temperature=0) == call_id(temperature=0)
    assert call_id(temperature=1) != call_id(temperature=1)
    assert call_id(temperature=1, seed=1) == call_id(temperature=1, seed=1)


def test_arguments_of_strict_tools_match_their_schema_or_are_refused(openai: OpenAI) -> None:
    strict = {"type": "function", "function": {**WEATHER["function"], "strict": True}}  # type: ignore[dict-item]
    called = ask(openai, [user("get_weather")], tools=[strict])
    arguments = json.loads(called.message.tool_calls[0].function.arguments)
    assert {"city", "days"} <= set(arguments) <= {"city", "days", "unit"}
    hard = {"type": "object", "properties": {"a": {"not": {"type": "null"}}}}
    tool = {"type": "function", "function": {"name": "f", "strict": True, "parameters": hard}}
    with pytest.raises(client.BadRequestError, match="tool f is strict"):
        ask(openai, [user("f")], tools=[tool])


def test_tools_and_reasoning_go_with_a_form_of_the_answer(openai: OpenAI) -> None:
    form = {"response_format": {"type": "json_object"}, "max_tokens": 1000}
    called = ask(openai, [user("get_time")], tools=BOTH, **form)
    assert [call.function.name for call in called.message.tool_calls] == ["get_time"]
    answered = ask(openai, [user("Hello.")], tools=BOTH, reasoning_effort="low", **form)
    assert isinstance(json.loads(answered.message.content), dict)
    assert answered.message.reasoning_content


def test_calls_that_fill_the_answer_say_length(openai: OpenAI) -> None:
    answer = ask(openai, [user("get_weather")], tools=[WEATHER], max_tokens=32)
    assert answer.finish_reason == "length"
    (call,) = answer.message.tool_calls
    assert call.function.name == "get_weather"


def test_the_model_says_what_it_supports(openai: OpenAI) -> None:
    (model,) = openai.models.list().data
    features: Any = model.to_dict()["features"]
    assert {"tools", "strict_tools", "thinking", "reasoning_effort", "prefill"} <= set(features)


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "get_weather"}}]
)
def test_a_required_call_leaves_no_text_to_constrain(openai: OpenAI, choice: Any) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "array"}}}
    answer = ask(
        openai,
        [user("Hello")],
        tools=[WEATHER],
        tool_choice=choice,
        response_format=form,
        max_tokens=500,
    )
    assert answer.finish_reason == "tool_calls"
    assert [call.function.name for call in answer.message.tool_calls] == ["get_weather"]
    assert answer.message.content is None


NAMED_TOOLS: dict[str, Any] = {
    "/v1/chat/completions": lambda name: {
        "messages": [user("Hello")],
        "tools": [{"type": "function", "function": {"name": name}}],
    },
    "/v1/responses": lambda name: {
        "input": [
            {"role": "user", "content": "Hello"},
            {"type": "function_call", "call_id": "c", "name": name, "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "5"},
        ],
        "tools": [{"type": "function", "name": name}],
    },
    "/v1/messages": lambda name: {
        "max_tokens": 64,
        "messages": [user("Hello")],
        "tools": [{"name": name, "input_schema": {"type": "object"}}],
    },
}


@pytest.mark.parametrize("path", NAMED_TOOLS)
def test_names_of_tools_have_at_most_128_characters(http: httpx2.Client, path: str) -> None:
    name = "mcp__" + "s" * 59 + "__" + "t" * 62
    reply = http.post(path, json={"model": MODEL, **NAMED_TOOLS[path](name)})
    assert reply.status_code == 200, reply.text
    refused = http.post(path, json={"model": MODEL, **NAMED_TOOLS[path](name + "t")})
    assert refused.status_code == 400
    assert "name" in refused.json()["error"]["message"]
