"""Messages and their events, from what an engine generates."""

from __future__ import annotations

from typing import Any

import pytest

from silkline.core import (
    Answer,
    Delta,
    FinishReason,
    Timeline,
    ToolCall,
    ToolCallDelta,
    Usage,
    complete,
)
from silkline.gateway.faces.messages.envelope import MessageEvents, message
from silkline.service.record import RequestRecord

RECORD = RequestRecord("r1", model="m")
USAGE = Usage(10, 5, cached_tokens=4, reasoning_tokens=2)


def last(reason: FinishReason = FinishReason.STOP, text: str = "", stop: str = "") -> Delta:
    return Delta(text, reason, USAGE, Timeline(), stop=stop)


def answered(*deltas: Delta) -> dict[str, Any]:
    answer = complete(deltas)
    assert answer is not None
    return message(answer, RECORD)


def streamed(*deltas: Delta) -> list[dict[str, Any]]:
    events = MessageEvents(RECORD)
    return [events.start(), *(event for delta in deltas for event in events.of(delta))]


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("content_block_") for event in events]


def call(index: int, arguments: str = "", **fields: str) -> Delta:
    return Delta("", tool_calls=(ToolCallDelta(index, arguments=arguments, **fields),))


def test_a_message_has_its_blocks_in_order() -> None:
    call = ToolCall("c1", "weather", '{"city": "Bern"}')
    answer = Answer("Let me see.", FinishReason.TOOL_CALLS, USAGE, Timeline(), "Hm", (call,))
    found = message(answer, RECORD)
    assert found["id"] == "msg_r1"
    assert (found["type"], found["role"], found["model"]) == ("message", "assistant", "m")
    assert [block["type"] for block in found["content"]] == ["thinking", "text", "tool_use"]
    assert found["content"][0]["thinking"] == "Hm"
    assert found["content"][0]["signature"]
    assert found["content"][2] == {
        "type": "tool_use",
        "id": "c1",
        "name": "weather",
        "input": {"city": "Bern"},
    }
    assert found["stop_reason"] == "tool_use"
    assert found["usage"] == {
        "input_tokens": 6,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 4,
        "output_tokens": 5,
        "output_tokens_details": {"thinking_tokens": 2},
    }


@pytest.mark.parametrize(
    ("end", "reason", "sequence"),
    [
        (last(), "end_turn", None),
        (last(stop="END"), "stop_sequence", "END"),
        (last(FinishReason.LENGTH), "max_tokens", None),
        (last(FinishReason.TOOL_CALLS), "tool_use", None),
    ],
)
def test_the_stop_reason_says_why_it_ended(end: Delta, reason: str, sequence: str | None) -> None:
    whole = answered(Delta("a"), end)
    assert (whole["stop_reason"], whole["stop_sequence"]) == (reason, sequence)
    delta = streamed(Delta("a"), end)[-2]
    assert delta["delta"] == {"stop_reason": reason, "stop_sequence": sequence}
    assert delta["usage"] == whole["usage"]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ("", {}),
        ('{"a": [1]}', {"a": [1]}),
        ('{"a": ', {"invalid_json": '{"a": '}),
        ("[1]", {"invalid_json": "[1]"}),
    ],
)
def test_the_input_of_a_tool_is_an_object(arguments: str, found: dict[str, Any]) -> None:
    calls = Delta("", tool_calls=(ToolCallDelta(0, "c1", "f", arguments),))
    assert answered(calls, last())["content"] == [
        {"type": "tool_use", "id": "c1", "name": "f", "input": found}
    ]


def test_an_empty_answer_has_an_empty_text() -> None:
    assert answered(last())["content"] == [{"type": "text", "text": ""}]
    assert kinds(streamed(last())) == [
        "message_start", "start", "stop", "message_delta", "message_stop",
    ]  # fmt: skip


def test_the_blocks_of_a_stream_follow_each_other() -> None:
    events = streamed(
        Delta("", reasoning="H"),
        Delta("", reasoning="m"),
        Delta("Let me see."),
        call(0, id="c1", name="f"),
        call(0, '{"a":'),
        call(0, "1}"),
        call(1, id="c2", name="g"),
        last(FinishReason.TOOL_CALLS),
    )
    assert kinds(events) == [
        "message_start",
        *("start", "delta", "delta", "delta", "stop"),
        *("start", "delta", "stop"),
        *("start", "delta", "delta", "stop"),
        *("start", "stop"),
        "message_delta",
        "message_stop",
    ]  # fmt: skip
    indices = [event["index"] for event in events[1:-2]]
    assert indices == [0] * 5 + [1] * 3 + [2] * 4 + [3] * 2
    deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    assert deltas[2] == {"type": "signature_delta", "signature": "unsigned"}
    assert deltas[4] == {"type": "input_json_delta", "partial_json": '{"a":'}
    assert events[9]["content_block"] == {"type": "tool_use", "id": "c1", "name": "f", "input": {}}


def test_chunks_of_two_calls_may_alternate() -> None:
    events = streamed(
        call(0, id="c1", name="f"), call(1, id="c2", name="g"), call(0, "{}"), call(1, "[]"), last()
    )
    deltas = [event for event in events if event["type"] == "content_block_delta"]
    assert [(event["index"], event["delta"]["partial_json"]) for event in deltas] == [
        (0, "{}"),
        (1, "[]"),
    ]
    assert kinds(events).count("start") == kinds(events).count("stop") == 2


def test_the_last_delta_may_hold_the_whole_answer() -> None:
    assert kinds(streamed(last(text="all"))) == [
        "message_start", "start", "delta", "stop", "message_delta", "message_stop",
    ]  # fmt: skip
