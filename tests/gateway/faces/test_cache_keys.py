"""Two requests share a cached answer only if nothing that may change the answer differs.

The tables below name every field of every face: a new field fails the tests until it is in one.
"""

import itertools
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from silkline.cache.key import CacheRequest, answer_key
from silkline.cache.policy import CacheUse
from silkline.core import EngineInfo
from silkline.gateway.body import decode
from silkline.gateway.faces.chat_schema import ChatRequest
from silkline.gateway.faces.completions import CompletionRequest
from silkline.gateway.faces.messages.schema import MessagesRequest
from silkline.gateway.faces.responses.items import ItemReference
from silkline.gateway.faces.responses.schema import ResponsesRequest
from silkline.service.question import Question

INFO = EngineInfo("fake", "fake", "0", "none", context_length=8192, image_tokens=16)
SAYS: dict[str, Any] = {"role": "user", "content": "Hi"}
F: dict[str, Any] = {"name": "f", "parameters": {"type": "object"}}
TOOL = {"type": "function", "function": F}
FLAT = {"type": "function", "name": "f", "parameters": {"type": "object"}}
CLIENT_TOOL = {"name": "f", "input_schema": {"type": "object"}}
OBJECT, NUMBER = {"type": "object"}, {"type": "number"}


def constraint(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}


SAMPLING: Mapping[str, tuple[Any, ...]] = {
    "temperature": (None, 0.5, 1),
    "top_p": (None, 0.5),
    "seed": (None, 0, 7),
    "stop": (None, "a", ["a", "b"], ["b", "a"]),
    "top_k": (None, 1, 5),
    "min_p": (None, 0.5),
    "frequency_penalty": (None, 0.5, -0.5),
    "presence_penalty": (None, 0.5, -0.5),
    "repetition_penalty": (None, 0.5, 1.5),
    "logit_bias": (None, {"5": 1}, {"5": 2}, {"6": 1}),
    "min_tokens": (None, 1, 2),
    "ignore_eos": (None, True),
    "stop_token_ids": (None, [5], [6]),
    "include_stop_str_in_output": (None, True),
}
GUIDED: Mapping[str, tuple[Any, ...]] = {
    "structured_outputs": (None, {"regex": "a"}, {"regex": "b"}, {"grammar": "a"}),
    "guided_json": (None, OBJECT, NUMBER),
    "guided_json_object": (None, True),
    "guided_regex": (None, "a", "b"),
    "guided_choice": (None, ["a"], ["a", "b"]),
    "guided_grammar": (None, "a", "b"),
}
FORMAT = {
    "response_format": (None, {"type": "json_object"}, constraint(OBJECT), constraint(NUMBER))
}
THINKING: Mapping[str, tuple[Any, ...]] = {
    "enable_thinking": (None, True, False),
    "chat_template_kwargs": (None, {"enable_thinking": True}, {"reasoning_effort": "low"}),
}
CHAT: Mapping[str, tuple[Any, ...]] = {
    **SAMPLING,
    **GUIDED,
    **FORMAT,
    **THINKING,
    "messages": (
        [SAYS],
        [{**SAYS, "role": "system"}],
        [SAYS, SAYS],
        [{**SAYS, "content": "Hi!"}],
        [SAYS, {"role": "assistant", "content": "", "reasoning_content": "a"}, SAYS],
        [SAYS, {"role": "assistant", "content": "a"}, SAYS],
        [SAYS, {"role": "tool", "tool_call_id": "a", "content": "1"}],
        [SAYS, {"role": "tool", "tool_call_id": "b", "content": "1"}],
    ),
    "max_tokens": (None, 1, 2),
    "max_completion_tokens": (None, 1, 2),
    "top_logprobs": (None, 1, 2),
    "tools": (None, [TOOL], [{**TOOL, "function": {**F, "description": "a"}}]),
    "reasoning_effort": (None, "none", "low", "high"),
    "thinking": (None, {"type": "enabled"}, {"type": "disabled"}),
    "reasoning": (None, {"effort": "none"}, {"effort": "low"}),
    "think": (None, True, False),
}
RESPONSES: Mapping[str, tuple[Any, ...]] = {
    **SAMPLING,
    **GUIDED,
    **THINKING,
    "input": ("Hi", "Hi!", [{"type": "message", **SAYS, "role": "system"}], [SAYS, SAYS]),
    "instructions": (None, "a", "b"),
    "max_output_tokens": (None, 1, 2),
    "text": (
        None,
        {"format": {"type": "json_object"}},
        {"format": {"type": "json_schema", "name": "a", "schema": OBJECT}},
    ),
    "tools": (None, [FLAT], [{**FLAT, "description": "a"}]),
    "reasoning": (None, {"effort": "none"}, {"effort": "low"}),
    "top_logprobs": (None, 1, 2),
    "include": (None, ["message.output_text.logprobs"]),
}
MESSAGES: Mapping[str, tuple[Any, ...]] = {
    **SAMPLING,
    "messages": ([SAYS], [SAYS, SAYS], [{**SAYS, "content": "Hi!"}]),
    "system": (None, "a", "b"),
    "tools": (None, [CLIENT_TOOL], [{**CLIENT_TOOL, "description": "a"}]),
    "thinking": (None, {"type": "enabled", "budget_tokens": 1024}, {"type": "disabled"}),
    "output_config": (
        None,
        {"effort": "low"},
        {"format": {"type": "json_schema", "schema": OBJECT}},
    ),
    "output_format": (None, {"type": "json_schema", "schema": NUMBER}),
    "max_tokens": (1, 2),
    "stop_sequences": (None, ["c"], ["d"]),
}
COMPLETIONS: Mapping[str, tuple[Any, ...]] = {
    **SAMPLING,
    **GUIDED,
    **FORMAT,
    "prompt": ("Hi", "Hi!"),
    "max_tokens": (None, 1, 2),
    "logprobs": (None, 0, 1),
}
PIXELS = {"mm_processor_kwargs"}
"""Fields that change the images; the digests of what comes out are in the key."""

WITH_OTHERS = {"tool_choice", "parallel_tool_calls", "continue_final_message", "logprobs"}
"""Fields that need another one; `test_a_field_that_needs_another_one_counts_too` has them."""

SAME = {
    *("model", "stream", "stream_options", "n", "store", "previous_response_id", "truncation"),
    *("metadata", "user", "safety_identifier", "prompt_cache_key", "max_tool_calls"),
    "add_generation_prompt",
}
"""Fields that cannot change an answer: the key has the chosen model's name, the items that were
stored, and a choice's own seed."""


def chat(body: dict[str, Any]) -> Question:
    return decode(json.dumps(body).encode(), ChatRequest)[0].question(CacheUse.NORMAL)


def responses(body: dict[str, Any]) -> Question:
    asked = decode(json.dumps(body).encode(), ResponsesRequest)[0]
    items = [
        (f"input.{index}", item)
        for index, item in enumerate(asked.items)
        if not isinstance(item, ItemReference)
    ]
    return asked.question(items, CacheUse.NORMAL)


def messages(body: dict[str, Any]) -> Question:
    return decode(json.dumps(body).encode(), MessagesRequest)[0].question(CacheUse.NORMAL)


def completions(body: dict[str, Any]) -> Question:
    return decode(json.dumps(body).encode(), CompletionRequest)[0].question(CacheUse.NORMAL)


FACES: Mapping[str, tuple[Callable[[dict[str, Any]], Question], Any, Mapping[str, Any]]] = {
    "chat": (chat, ChatRequest, CHAT),
    "responses": (responses, ResponsesRequest, RESPONSES),
    "messages": (messages, MessagesRequest, MESSAGES),
    "completions": (completions, CompletionRequest, COMPLETIONS),
}
NEEDED: Mapping[str, dict[str, Any]] = {
    "chat": {"messages": [SAYS], "logprobs": True},
    "responses": {"input": "Hi"},
    "messages": {"messages": [SAYS], "max_tokens": 5},
    "completions": {"prompt": "Hi"},
}


def key(question: Question) -> bytes:
    asked = CacheRequest(
        question.messages,
        (),
        question.sampling,
        60.0,
        question.stream,
        (),
        None,
        question.options,
    )
    return answer_key(asked, INFO, b"")


@pytest.mark.parametrize("face", FACES)
def test_every_field_is_in_a_table(face: str) -> None:
    _, kind, changing = FACES[face]
    assert set(kind.__struct_fields__) <= {*changing, *SAME, *PIXELS, *WITH_OTHERS}


@given(st.data())
def test_two_values_of_a_field_never_share_an_answer(data: st.DataObject) -> None:
    face = data.draw(st.sampled_from(sorted(FACES)))
    convert, _, changing = FACES[face]
    name = data.draw(st.sampled_from(sorted(changing)))
    pairs = list(itertools.combinations(changing[name], 2))
    one, other = data.draw(st.sampled_from(pairs))
    base = NEEDED[face]
    assert key(convert({**base, name: one})) != key(convert({**base, name: other}))


@given(st.data())
def test_two_fields_never_share_an_answer(data: st.DataObject) -> None:
    """Each has a value that is not its default; some say the same in two ways."""
    face = data.draw(st.sampled_from(sorted(FACES)))
    convert, _, changing = FACES[face]
    one, other = data.draw(st.lists(st.sampled_from(sorted(changing)), min_size=2, max_size=2))
    base = NEEDED[face]
    bodies = [{**base, name: changing[name][-1]} for name in (one, other)]
    asked = [convert(body) for body in bodies]
    same = asked[0].sampling == asked[1].sampling and asked[0].options == asked[1].options
    alike = same and asked[0].messages == asked[1].messages
    assert (key(asked[0]) == key(asked[1])) is alike


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("name", ["model", "stream", "user", "metadata"])
def test_what_cannot_change_the_answer_does_not_count(face: str, name: str) -> None:
    convert = FACES[face][0]
    values = {"model": "m", "stream": True, "user": "u", "metadata": {"a": "b"}}
    base = NEEDED[face]
    assert key(convert({**base, name: values[name]})) == key(convert(base))


@pytest.mark.parametrize(
    ("base", "changes"),
    [
        ({"tools": [TOOL]}, [{"tool_choice": each} for each in ("none", "required", "auto")]),
        ({"tools": [TOOL]}, [{"parallel_tool_calls": each} for each in (True, False)]),
        ({}, [{"logprobs": each} for each in (True, False)]),
        (
            {"messages": [SAYS, {"role": "assistant", "content": "a"}]},
            [{"continue_final_message": each} for each in (True, False)],
        ),
    ],
)
def test_a_field_that_needs_another_one_counts_too(
    base: dict[str, Any], changes: list[dict[str, Any]]
) -> None:
    keys = {key(chat({"messages": [SAYS], **base, **change})) for change in changes}
    assert len(keys) == len(changes)


def test_the_same_question_in_two_faces_shares_an_answer() -> None:
    common = {"temperature": 0, "top_p": 0.5, "seed": 3}
    asked = [
        chat({**common, "messages": [{"role": "system", "content": "Be brief."}, SAYS],
              "max_tokens": 9, "tools": [TOOL]}),
        responses({**common, "instructions": "Be brief.", "input": "Hi", "max_output_tokens": 9,
                   "tools": [FLAT]}),
        messages({**common, "system": "Be brief.", "messages": [SAYS], "max_tokens": 9,
                  "tools": [CLIENT_TOOL]}),
    ]  # fmt: skip
    assert len(set(map(key, asked))) == 1
