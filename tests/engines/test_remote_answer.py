"""What servers send as the content of an answer, and how they say that it ended."""

import json
import logging
from typing import Any

import pytest

from silkline.core import FinishReason, Sampling
from silkline.engines.probe import Probed
from silkline.errors import InvalidRequest, WorkerLost
from tests.engines.asking import answer, question
from tests.engines.openai_server import (
    STREAM_END,
    STREAM_HEAD,
    Script,
    asked,
    chunk,
    event,
    scripted,
    whole,
)

TEXT = {"type": "text", "text": "Hello"}
THINKING = {"type": "thinking", "thinking": [{"type": "text", "text": "Hmm."}]}
LEFT_OUT = "a remote server sends parts of an unknown type: they are left out"


def streaming(*deltas: Any, finish: str = "stop", **fields: Any) -> Script:
    said = b"".join(event(chunk(delta)) for delta in deltas)
    end = event(chunk({}, finish, **fields)) + event("[DONE]") + STREAM_END
    return scripted(STREAM_HEAD + said + end)


@pytest.mark.parametrize(("contents", "text", "reasoning", "logged"), [
    ([[TEXT]], "Hello", "", 0),
    ([[THINKING], [TEXT]], "Hello", "Hmm.", 0),
    ([[THINKING, TEXT, {"type": "text", "text": "!"}]], "Hello!", "Hmm.", 0),
    ([[{"type": "thinking", "thinking": "So"}, TEXT]], "Hello", "So", 0),
    ([[TEXT, {"type": "reference", "reference_ids": [1]}], " you"], "Hello you", "", 0),
    ([[{"type": "reasoning", "summary": []}, TEXT]], "Hello", "", 0),
    ([["Hel", {"text": "lo"}]], "Hello", "", 0),
    ([[{"type": "output_text", "text": "Hello"}]], "Hello", "", 0),
    ([None, "Hello", None, []], "Hello", "", 0),
    ([[{"type": "audio", "data": "QQ=="}, TEXT]], "Hello", "", 1),
    ([[{"type": ["x"], "text": "Hi"}, TEXT, 5, None, {}]], "Hello", "", 1),
])  # fmt: skip
async def test_the_text_parts_are_the_text(
    contents: list[Any], text: str, reasoning: str, logged: int, caplog: pytest.LogCaptureFixture
) -> None:
    script = streaming({"role": "assistant"}, *({"content": each} for each in contents))
    async with asked(script) as (engine, _):
        with caplog.at_level(logging.WARNING, "silkline.remote"):
            for _ in range(2):
                said = await answer(engine, question())
                assert (said.text, said.reasoning) == (text, reasoning)
    assert [record.message for record in caplog.records].count(LEFT_OUT) == logged


@pytest.mark.parametrize(("content", "text"), [
    ([THINKING, TEXT], "Hello"), ("Hello", "Hello"), (None, ""), ([], ""),
])  # fmt: skip
async def test_a_whole_answer_is_read_alike(content: Any, text: str) -> None:
    body = {"choices": [{"index": 0, "message": {"role": "assistant", "content": content}}]}
    async with asked(scripted(whole(200, json.dumps(body).encode()))) as (engine, _):
        assert isinstance(engine, Probed)
        prober = await engine.prober()
        assert (await prober.show(question())).served == text


@pytest.mark.parametrize(("reason", "finish"), [
    ("stop", FinishReason.STOP), ("eos", FinishReason.STOP), ("end_turn", FinishReason.STOP),
    ("stop_sequence", FinishReason.STOP), ("STOP", FinishReason.STOP),
    ("COMPLETE", FinishReason.STOP), ("length", FinishReason.LENGTH),
    ("max_tokens", FinishReason.LENGTH), ("MAX_TOKENS", FinishReason.LENGTH),
    ("model_length", FinishReason.LENGTH),
])  # fmt: skip
async def test_reasons_to_end(reason: str, finish: FinishReason) -> None:
    async with asked(streaming({"content": "Hello"}, finish=reason)) as (engine, _):
        said = await answer(engine, question())
    assert (said.text, said.finish_reason) == ("Hello", finish)


@pytest.mark.parametrize(("reason", "kind"), [
    ("content_filter", InvalidRequest), ("SAFETY", InvalidRequest), ("refusal", InvalidRequest),
    ("error", WorkerLost), ("abort", WorkerLost), ("", WorkerLost), ("something", WorkerLost),
])  # fmt: skip
async def test_reasons_that_are_no_end(reason: str, kind: type[Exception]) -> None:
    async with asked(streaming({"content": "Hello"}, finish=reason)) as (engine, _):
        with pytest.raises(kind):
            await answer(engine, question())


@pytest.mark.parametrize("last", [
    {"choices": [{"index": 0, "finish_reason": "stop"}]},
    {"choices": [{"index": None, "delta": None, "finish_reason": "stop"}], "usage": {}},
    {"choices": [{"delta": {"content": None}, "finish_reason": "stop"}]},
    {"choices": [{"delta": {"content": []}, "finish_reason": "stop"}],
     "usage": {"prompt_tokens": None}},
])  # fmt: skip
async def test_last_chunks_without_content(last: dict[str, Any]) -> None:
    opening = event({"choices": []}) + event(chunk({"content": "Hello"}, ""))
    script = scripted(STREAM_HEAD + opening + event(last) + event({"choices": []}),
                      event("[DONE]") + STREAM_END)  # fmt: skip
    async with asked(script, image_tokens="100") as (engine, _):
        said = await answer(engine, question("x" * 40))
    assert said.text == "Hello"
    assert (said.usage.prompt_tokens, said.usage.completion_tokens) == (110, 1)


@pytest.mark.parametrize(
    ("fields", "stop"),
    [
        ({"stop_reason": "END"}, "END"),
        ({"matched_stop": "END"}, "END"),
        ({"stop_reason": None, "matched_stop": 151645}, ""),
        ({"stop_reason": 151645}, ""),
        ({"stop_reason": "end_turn"}, ""),
        ({"stop_reason": ["END"]}, ""),
        ({}, ""),
    ],
)
async def test_the_stop_string_that_ended_it_is_known(fields: dict[str, Any], stop: str) -> None:
    ended = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", **fields}]}
    said = event(chunk({"content": "Hello"})) + event(ended) + event("[DONE]") + STREAM_END
    asking = question(sampling=Sampling(max_tokens=24, stop=("STOP", "END")))
    async with asked(scripted(STREAM_HEAD + said)) as (engine, _):
        assert (await answer(engine, asking)).stop == stop
