"""Tools and reasoning in responses, whole and streamed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import openai as sdk
import pytest
from openai import BadRequestError, OpenAI
from pydantic import BaseModel

from silkline.core import Delta, FinishReason, TokenLogprob, ToolCallDelta
from silkline.gateway.faces.responses.output import Output
from tests.gateway.asking import MODEL
from tests.gateway.faces.responses.asking import (
    RESPONSES,
    asked,
    checked_events,
    checked_response,
    read_events,
)
from tests.serving import served

SCHEMA = {
    "type": "object",
    "properties": {"what": {"type": "string"}},
    "required": ["what"],
    "additionalProperties": False,
}
LOOK: dict[str, Any] = {
    "type": "function",
    "name": "look",
    "description": "Looks.",
    "parameters": SCHEMA,
    "strict": True,
}
COUNT: dict[str, Any] = {"type": "function", "name": "count"}
CALL_EVENTS = [
    "response.output_item.added",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    "response.output_item.done",
]
REASONING_EVENTS = [
    "response.output_item.added",
    "response.content_part.added",
    "response.reasoning_text.delta",
    "response.reasoning_text.done",
    "response.content_part.done",
    "response.output_item.done",
]
TEXT_EVENTS = [kind.replace("reasoning", "output") for kind in REASONING_EVENTS]


@pytest.fixture(scope="module")
def caching() -> Iterator[httpx2.Client]:
    with (
        served("--engine", "fake") as running,
        httpx2.Client(base_url=running.url, timeout=30) as client,
    ):
        yield client


def kinds(events: list[dict[str, Any]]) -> list[str]:
    """The types of the events between the first two and the last, repeated ones once."""
    found: list[str] = []
    for event in events[2:-1]:
        if not event["type"].endswith("delta") or event["type"] != (found or [""])[-1]:
            found.append(event["type"])
    return found


def test_a_call_of_a_tool(http: httpx2.Client) -> None:
    body = asked(question="Please look.", tools=[LOOK], parallel_tool_calls=False)
    response = checked_response(http.post(RESPONSES, json=body).json())
    (call,) = response["output"]
    assert call["type"] == "function_call"
    assert call["name"] == "look"
    assert call["call_id"]
    assert call["status"] == "completed"
    assert set(json.loads(call["arguments"])) == {"what"}
    assert response["status"] == "completed"
    assert response["tools"][0] == LOOK
    events = read_events(http.post(RESPONSES, json={**body, "stream": True}).text)
    assert kinds(events) == CALL_EVENTS
    deltas = [event["delta"] for event in events if event["type"] == CALL_EVENTS[1]]
    assert "".join(deltas) == events[-3]["arguments"] == call["arguments"]
    assert events[2]["item"]["arguments"] == ""
    assert events[2]["item"]["call_id"] == events[-1]["response"]["output"][0]["call_id"]


def test_two_calls_at_once(http: httpx2.Client) -> None:
    body = asked(question="Please look and count.", tools=[LOOK, COUNT], stream=True)
    response = read_events(http.post(RESPONSES, json=body).text)[-1]["response"]
    assert [item["name"] for item in response["output"]] == ["look", "count"]
    assert len({item["call_id"] for item in response["output"]}) == 2


def test_the_loop_of_an_agent(openai: OpenAI) -> None:
    tools: list[Any] = [LOOK]
    sent: list[Any] = [{"role": "user", "content": "Please look."}]
    first = openai.responses.create(model=MODEL, input=sent, tools=tools, store=True)
    results: list[Any] = [
        {"type": "function_call_output", "call_id": item.call_id, "output": "a red mug"}
        for item in first.output
        if item.type == "function_call"
    ]
    assert results
    called: list[Any] = [item.to_dict() for item in first.output]
    by_items = openai.responses.create(
        model=MODEL, input=[*sent, *called, *results],
        tools=tools,
    )  # fmt: skip
    by_id = openai.responses.create(
        model=MODEL, input=results, previous_response_id=first.id, tools=tools
    )
    assert by_items.output_text
    assert by_items.output_text == by_id.output_text


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("none", set()),
        ("auto", {"look"}),
        ("required", {"look"}),
        ({"type": "function", "name": "count"}, {"count"}),
        (
            {
                "type": "allowed_tools",
                "mode": "required",
                "tools": [{"type": "function", "name": "count"}],
            },
            {"count"},
        ),
        (
            {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [{"type": "function", "name": "count"}],
            },
            set(),
        ),
    ],
)
def test_the_choice_between_tools(http: httpx2.Client, choice: Any, names: set[str]) -> None:
    body = asked(question="Please look.", tools=[LOOK, COUNT], tool_choice=choice)
    response = checked_response(http.post(RESPONSES, json=body).json())
    assert {item.get("name") for item in response["output"]} - {None} == names
    assert response["tool_choice"] == choice


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
        ({"tools": [LOOK, {"type": "code_interpreter", "container": {}}]}, "tools.1.type"),
        ({"tools": [LOOK, LOOK]}, "tools"),
        ({"tools": [LOOK], "tool_choice": {"type": "web_search"}}, "tool_choice.type"),
        ({"tools": [LOOK], "tool_choice": {"type": "function", "name": "no"}}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        (
            {
                "tools": [LOOK],
                "tool_choice": {
                    "type": "allowed_tools",
                    "mode": "auto",
                    "tools": [{"type": "function", "name": "no"}],
                },
            },
            "tool_choice",
        ),
    ],
)
def test_wrong_tools_are_refused(openai: OpenAI, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        openai.responses.create(model=MODEL, input="Please look.", **fields)
    assert caught.value.param == param


def test_reasoning_is_an_item_before_the_text(http: httpx2.Client) -> None:
    body = asked(reasoning={"effort": "low", "summary": "auto"})
    response = checked_response(http.post(RESPONSES, json=body).json())
    reasoning, message = response["output"]
    assert reasoning["type"] == "reasoning"
    assert reasoning["summary"] == []
    assert reasoning["content"][0]["text"].startswith("thought0")
    assert message["type"] == "message"
    assert response["usage"]["output_tokens_details"]["reasoning_tokens"] > 0
    assert response["reasoning"]["effort"] == "low"
    events = read_events(http.post(RESPONSES, json={**body, "stream": True}).text)
    assert kinds(events) == [*REASONING_EVENTS, *TEXT_EVENTS]
    assert events[-1]["response"]["output"][0]["content"] == reasoning["content"]


@pytest.mark.parametrize(
    ("fields", "thinks"),
    [
        ({}, False),
        ({"reasoning": {"effort": "none"}}, False),
        ({"enable_thinking": True}, True),
        ({"chat_template_kwargs": {"enable_thinking": True}}, True),
        ({"enable_thinking": False, "reasoning": {"effort": "high"}}, True),
    ],
)
def test_whether_the_model_thinks(
    http: httpx2.Client, fields: dict[str, Any], thinks: bool
) -> None:
    output = http.post(RESPONSES, json=asked(**fields)).json()["output"]
    assert (output[0]["type"] == "reasoning") == thinks


def test_reasoning_that_is_cut_is_incomplete(http: httpx2.Client) -> None:
    body = asked(reasoning={"effort": "high"}, max_output_tokens=8)
    response = checked_response(http.post(RESPONSES, json=body).json())
    assert response["status"] == "incomplete"
    (reasoning,) = response["output"]
    assert reasoning["type"] == "reasoning"
    assert reasoning["status"] == "incomplete"


def test_log_probabilities_are_those_of_the_text(caching: httpx2.Client) -> None:
    body = asked(
        reasoning={"effort": "low"}, include=["message.output_text.logprobs"], top_logprobs=2
    )
    first, again = (checked_response(caching.post(RESPONSES, json=body).json()) for _ in range(2))
    assert [each["silkline"]["cache"] for each in (first, again)] == ["miss", "hit"]
    (part,) = first["output"][1]["content"]
    tokens = part["logprobs"]
    assert bytes(byte for token in tokens for byte in token["bytes"]).decode() == part["text"]
    assert all(len(token["top_logprobs"]) == 2 for token in tokens)
    events = read_events(caching.post(RESPONSES, json={**body, "stream": True}).text)
    for response in (again, events[-1]["response"]):
        assert response["output"][1]["content"] == [part]


def test_log_probabilities_are_streamed(http: httpx2.Client) -> None:
    body = asked(include=["message.output_text.logprobs"], stream=True)
    events = read_events(http.post(RESPONSES, json=body).text)
    deltas = [event for event in events if event["type"] == "response.output_text.delta"]
    assert all(event["logprobs"] for event in deltas)
    done = next(event for event in events if event["type"] == "response.output_text.done")
    assert done["logprobs"] == [token for event in deltas for token in event["logprobs"]]
    assert done["logprobs"] == events[-1]["response"]["output"][0]["content"][0]["logprobs"]


class Look(BaseModel):
    what: str


def test_the_official_client_parses_arguments(openai: OpenAI) -> None:
    tool: Any = {"type": "function", **sdk.pydantic_function_tool(Look, name="look")["function"]}
    response = openai.responses.parse(model=MODEL, input="Please look.", tools=[tool])
    (call,) = response.output
    assert call.type == "function_call"
    assert isinstance(Look.model_validate(call.parsed_arguments), Look)


def deltas_of(*deltas: Delta) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The events and items of an answer."""
    output = Output("0")
    events = [event for delta in deltas for event in output.add(delta)]
    events += output.end("completed")
    numbered = [{**event, "sequence_number": n} for n, event in enumerate(events)]
    return checked_events(numbered), output.items()


def test_calls_whose_chunks_are_mixed_are_whole() -> None:
    events, items = deltas_of(
        Delta("", reasoning="a"),
        Delta("b", reasoning="c"),
        Delta("", tool_calls=(ToolCallDelta(0, "x", "look", "{"), ToolCallDelta(1, "y", "count"))),
        Delta("", tool_calls=(ToolCallDelta(1, arguments="{}"), ToolCallDelta(0, arguments="}"))),
        Delta("", FinishReason.TOOL_CALLS),
    )
    assert [item.get("arguments") for item in items] == [None, None, "{}", "{}"]
    assert items[0]["content"][0]["text"] == "ac"
    assert items[1]["content"][0]["text"] == "b"
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert done == items
    assert [event["output_index"] for event in events if "added" in event["type"]] == [
        0, 0, 1, 1, 2, 3,
    ]  # fmt: skip


def test_the_tokens_of_a_mixed_delta() -> None:
    tokens = tuple(TokenLogprob(text, text.encode(), -1.0) for text in ("hm", "</t>", "a", " b"))
    _, items = deltas_of(Delta("a b", reasoning="hm", logprobs=tokens))
    assert [token["token"] for token in items[1]["content"][0]["logprobs"]] == ["a", " b"]
