"""Each part of a server's answer comes back: tool calls, reasoning, log-probabilities, usage."""

from typing import Any

import pytest

from silkline.core import (
    Answer,
    Delta,
    FinishReason,
    Sampling,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
)
from silkline.errors import WorkerLost
from tests.engines.asking import answer, deltas, question
from tests.engines.openai_server import (
    STREAM_END,
    STREAM_HEAD,
    Script,
    asked,
    chunk,
    event,
    scripted,
)


def streaming(*chunks: dict[str, Any]) -> Script:
    return scripted(STREAM_HEAD + b"".join(map(event, chunks)) + event("[DONE]") + STREAM_END)


async def said(*chunks: dict[str, Any], sampling: Sampling | None = None) -> Answer:
    async with asked(streaming(*chunks)) as (engine, _):
        return await answer(engine, question(sampling=sampling or Sampling()))


def calls(*parts: dict[str, Any]) -> dict[str, Any]:
    return chunk({"tool_calls": list(parts)})


def part(
    index: int | None = None, call: str | None = None, name: str | None = None, args: Any = None
) -> dict[str, Any]:
    """A chunk of a call, without the fields that are None."""
    function = {"name": name, "arguments": args}
    given = {"index": index, "id": call, "function": {k: v for k, v in function.items() if v}}
    return {name: value for name, value in given.items() if value is not None}


END = chunk({}, "tool_calls")
RED = ToolCall("call_a", "paint", '{"c": "red"}')
BLUE = ToolCall("call_b", "paint", '{"c": "blue"}')


async def test_chunks_of_tool_calls_are_passed_on_as_they_come() -> None:
    script = streaming(
        chunk({"role": "assistant", "content": None}),
        calls(part(0, "call_a", "paint", "")),
        calls(part(0, args='{"c": ')),
        calls(part(0, args='"red"}'), part(1, "call_b", "paint", '{"c": "blue"}')),
        END,
    )
    async with asked(script) as (engine, _):
        *parts, last = await deltas(engine, question())
    assert parts == [
        Delta("", tool_calls=(ToolCallDelta(0, "call_a", "paint"),)),
        Delta("", tool_calls=(ToolCallDelta(0, arguments='{"c": '),)),
        Delta("", tool_calls=(
            ToolCallDelta(0, arguments='"red"}'),
            ToolCallDelta(1, "call_b", "paint", '{"c": "blue"}'),
        )),
    ]  # fmt: skip
    assert last.finish_reason is FinishReason.TOOL_CALLS


@pytest.mark.parametrize("chunks", [
    # Each chunk repeats id and name.
    [calls(part(0, "call_a", "paint", '{"c": ')), calls(part(0, "call_a", "paint", '"red"}')),
     calls(part(1, "call_b", "paint", '{"c": "blue"}'))],
    # All calls have the index 0.
    [calls(part(0, "call_a", "paint", '{"c": "red"}')),
     calls(part(0, "call_b", "paint", '{"c": "blue"}'))],
    # A later chunk of a call has another id.
    [calls(part(0, "call_a", "paint", '{"c": ')), calls(part(0, "other", None, '"red"}')),
     calls(part(0, "call_b", "paint", '{"c": ')), calls(part(0, "more", None, '"blue"}'))],
    # No call has an index.
    [calls(part(None, "call_a", "paint", '{"c": "red"}'),
           part(None, "call_b", "paint", '{"c": "blue"}'))],
    [calls(part(None, "call_a", "paint", '{"c": ')), calls(part(None, None, None, '"red"}')),
     calls(part(None, "call_b", "paint", '{"c": "blue"}'))],
    # The indices begin elsewhere.
    [calls(part(3, "call_a", "paint", '{"c": "red"}')),
     calls(part(7, "call_b", "paint", '{"c": "blue"}'))],
    # The name comes late, and after arguments.
    [calls(part(0, "call_a")), calls(part(0, args='{"c": ')), calls(part(0, None, "paint")),
     calls(part(0, args='"red"}')), calls(part(1, "call_b", "paint", '{"c": "blue"}'))],
    # The calls take turns.
    [calls(part(0, "call_a", "paint")), calls(part(1, "call_b", "paint")),
     calls(part(1, args='{"c": "blue"}')), calls(part(0, args='{"c": "red"}'))],
    # Arguments as an object.
    [calls(part(0, "call_a", "paint", {"c": "red"}), part(1, "call_b", "paint", {"c": "blue"}))],
    # A choice of no interest.
    [calls(part(0, "call_a", "paint", '{"c": "red"}')),
     {"choices": [{"index": 1, "delta": {"tool_calls": [part(0, "no", "no")]}}]},
     calls(part(1, "call_b", "paint", '{"c": "blue"}'))],
])  # fmt: skip
async def test_forms_of_tool_calls(chunks: list[dict[str, Any]]) -> None:
    got = await said(*chunks, END)
    compact = [
        ToolCall(call.id, call.name, call.arguments.replace('":"', '": "'))
        for call in got.tool_calls
    ]
    assert compact == [RED, BLUE]
    assert (got.text, got.finish_reason) == ("", FinishReason.TOOL_CALLS)


async def test_calls_without_ids_get_some() -> None:
    both = calls(part(None, "", "paint", "{}"), part(None, "", "paint", "{}"))
    got = await said(both, END)
    first, second = got.tool_calls
    assert (first.name, first.arguments) == (second.name, second.arguments) == ("paint", "{}")
    assert first.id.startswith("call_")
    assert first.id != second.id


@pytest.mark.parametrize(("reason", "called", "finish"), [
    ("tool_calls", True, FinishReason.TOOL_CALLS),
    ("function_call", True, FinishReason.TOOL_CALLS),
    ("TOOL_USE", True, FinishReason.TOOL_CALLS),
    ("stop", True, FinishReason.TOOL_CALLS),  # OpenAI and vLLM, where one function is required
    ("length", True, FinishReason.LENGTH),
    ("tool_calls", False, FinishReason.STOP),
])  # fmt: skip
async def test_why_an_answer_with_tools_ends(
    reason: str, called: bool, finish: FinishReason
) -> None:
    came = [calls(part(0, "call_a", "paint", "{}"))] if called else [chunk({"content": "No."})]
    assert (await said(*came, chunk({}, reason))).finish_reason is finish


@pytest.mark.parametrize("wrong", [
    {"tool_calls": "paint"}, {"tool_calls": {"index": 0}}, {"tool_calls": [5]},
    {"tool_calls": [part(-1, "a", "paint")]}, {"tool_calls": [part(1024, "a", "paint")]},
    {"tool_calls": [{"index": 0, "id": 7}]}, {"tool_calls": [part(0, "a", "paint", [1])]},
    {"tool_calls": [part(0, str(number), "paint") for number in range(1025)]},
])  # fmt: skip
async def test_malformed_tool_calls_are_a_loss(wrong: dict[str, Any]) -> None:
    with pytest.raises(WorkerLost):
        await said(chunk(wrong), END)


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
async def test_reasoning_is_streamed_and_counted(name: str) -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 7}
    parts = [chunk({name: "I "}), chunk({name: "see."}), chunk({"content": "Red."})]
    async with asked(streaming(*parts, chunk({}, "stop", usage=usage))) as (engine, _):
        first, second, third, last = await deltas(engine, question())
    assert (first, second) == (Delta("", reasoning="I "), Delta("", reasoning="see."))
    assert third == Delta("Red.")
    assert last.usage is not None
    assert (last.usage.completion_tokens, last.usage.reasoning_tokens) == (7, 2)


@pytest.mark.parametrize(("details", "tokens"), [
    ({"reasoning_tokens": 5}, 5), ({"reasoning_tokens": 0}, 0), ({"reasoning_tokens": 99}, 7),
    ({"reasoning_tokens": None}, 1), ({}, 1), (None, 1),
])  # fmt: skip
async def test_reasoning_tokens_are_those_that_the_server_counts(details: Any, tokens: int) -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 7, "completion_tokens_details": details}
    got = await said(chunk({"reasoning": "Hm."}), chunk({"content": "Red."}),
                     chunk({}, "stop", usage=usage))  # fmt: skip
    assert got.usage.reasoning_tokens == tokens


@pytest.mark.parametrize("odd", [None, 5, {"text": "Hm."}, ["Hm."]])
async def test_reasoning_that_is_no_text_is_ignored(odd: Any) -> None:
    got = await said(chunk({"content": "Red.", "reasoning": odd}), chunk({}, "stop"))
    assert (got.text, got.reasoning) == ("Red.", "")


def token(text: str, logprob: float, *top: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"token": text, "logprob": logprob, "top_logprobs": list(top), **more}


def with_logprobs(text: str, *content: dict[str, Any]) -> dict[str, Any]:
    body = chunk({"content": text})
    body["choices"][0]["logprobs"] = {"content": list(content)}
    return body


async def test_logprobs_come_with_their_chunk() -> None:
    first = with_logprobs("Re", token("Re", -0.5, token("Re", -0.5), token("Bl", -1.5), bytes=None))
    second = with_logprobs("", token("\ufffd", -3, bytes=[195]))
    script = streaming(first, second, chunk({"content": "d"}), chunk({}, "stop"))
    async with asked(script) as (engine, _):
        *parts, _ = await deltas(engine, question(sampling=Sampling(logprobs=2)))
    top = (TokenLogprob("Re", b"Re", -0.5), TokenLogprob("Bl", b"Bl", -1.5))
    assert parts == [
        Delta("Re", logprobs=(TokenLogprob("Re", b"Re", -0.5, top),)),
        Delta("", logprobs=(TokenLogprob("\ufffd", b"\xc3", -3.0),)),
        Delta("d"),
    ]


@pytest.mark.parametrize(("asked_for", "tops"), [(0, 0), (1, 1), (2, 2), (5, 2)])
async def test_no_more_alternatives_than_were_asked_for(asked_for: int, tops: int) -> None:
    content = token("a", 1e-7, token("a", 0), token("b", -9999.0))
    got = await said(with_logprobs("a", content), chunk({}, "stop"),
                     sampling=Sampling(logprobs=asked_for))  # fmt: skip
    (only,) = got.logprobs
    assert only.logprob == 0.0
    assert len(only.top) == tops


@pytest.mark.parametrize("wrong", [
    [5], {"content": {}}, {"content": [{"token": "a"}]},
    {"content": [{"token": 1, "logprob": 0}]},
    {"content": [{"token": "a", "logprob": None}]},
    {"content": [{"token": "a", "logprob": 0, "bytes": [256]}]},
])  # fmt: skip
async def test_malformed_logprobs_are_a_loss_where_they_were_asked_for(wrong: Any) -> None:
    body = chunk({"content": "Red."})
    body["choices"][0]["logprobs"] = wrong
    assert (await said(body, chunk({}, "stop"))).logprobs == ()
    with pytest.raises(WorkerLost):
        await said(body, chunk({}, "stop"), sampling=Sampling(logprobs=0))
