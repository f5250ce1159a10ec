"""Every field of a request arrives at a remote server as it was sent, and no other."""

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from silkline.core import (
    Constraint,
    ConstraintKind,
    Message,
    PromptOptions,
    Request,
    Role,
    Sampling,
    TextPart,
    Tool,
    ToolCall,
    ToolChoice,
)
from silkline.engines.remote.body import encode_body
from silkline.engines.remote.dialect import Dialect
from silkline.engines.remote.fields import RESERVED, fields_of
from silkline.errors import InvalidRequest
from tests.engines.asking import answer, request, user
from tests.engines.openai_server import STREAM_END, STREAM_HEAD, asked, chunk, event, scripted
from tests.engines.openai_words import as_json, options_of, sampling_of

HELLO = event(chunk({"content": "Hello"})) + event(chunk({}, "stop"))
SCRIPT = scripted(STREAM_HEAD + HELLO + event("[DONE]") + STREAM_END)
ALWAYS = {"model", "messages", "max_tokens", "temperature", "stream", "stream_options"}

SCHEMA = '{"type":"object","properties":{"zebra":{"type":"number"},"ant":{"const":1e400}}}'
FUNCTION = Tool("look_up", "Finds a colour.", '{"type":"object","required":["b","a"]}', strict=True)


async def sent(asking: Request) -> dict[str, Any]:
    """The body that reached the server."""
    async with asked(SCRIPT) as (engine, server):
        await answer(engine, asking)
        return dict(server.received[0].body)


async def added(sampling: Sampling | None = None, options: PromptOptions | None = None) -> Any:
    """The fields that these add to a body."""
    body = await sent(
        replace(
            request(user("Hi"), sampling=sampling or Sampling()), options=options or PromptOptions()
        )
    )
    return {name: value for name, value in body.items() if name not in ALWAYS}


@pytest.mark.parametrize(("name", "value", "expected"), [
    ("seed", 3, {"seed": 3}),
    ("seed", 0, {"seed": 0}),
    ("stop", ("a", "\n"), {"stop": ["a", "\n"]}),
    ("top_k", 40, {"top_k": 40}),
    ("min_p", 0.05, {"min_p": 0.05}),
    ("frequency_penalty", -1.5, {"frequency_penalty": -1.5}),
    ("presence_penalty", 0.25, {"presence_penalty": 0.25}),
    ("repetition_penalty", 1.1, {"repetition_penalty": 1.1}),
    ("logit_bias", ((5, -100.0), (9, 2.5)), {"logit_bias": {"5": -100.0, "9": 2.5}}),
    ("min_tokens", 7, {"min_tokens": 7}),
    ("ignore_eos", True, {"ignore_eos": True}),
    ("stop_token_ids", (1, 2), {"stop_token_ids": [1, 2]}),
    ("include_stop", True, {"include_stop_str_in_output": True}),
    ("logprobs", 0, {"logprobs": True}),
    ("logprobs", 5, {"logprobs": True, "top_logprobs": 5}),
    ("extra", '{"odder": 2, "odd": {"a": [1]}}', {"odder": 2, "odd": {"a": [1]}}),
])  # fmt: skip
async def test_sampling(name: str, value: Any, expected: dict[str, Any]) -> None:
    assert await added(Sampling(**{name: value})) == expected


@pytest.mark.parametrize(("constraint", "expected"), [
    (Constraint(ConstraintKind.JSON_OBJECT), {"response_format": {"type": "json_object"}}),
    (Constraint(ConstraintKind.JSON_SCHEMA, '{"type":"object"}'), {"response_format": {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True}}}),
    (Constraint(ConstraintKind.JSON_SCHEMA, "true", "any", "What it is."), {"response_format": {
        "type": "json_schema", "json_schema": {
            "name": "any", "description": "What it is.", "schema": True, "strict": True}}}),
    (Constraint(ConstraintKind.REGEX, r"\d+"), {"structured_outputs": {"regex": r"\d+"}}),
    (Constraint(ConstraintKind.CHOICE, '["red","blue"]'),
     {"structured_outputs": {"choice": ["red", "blue"]}}),
    (Constraint(ConstraintKind.GRAMMAR, 'root ::= "a"'),
     {"structured_outputs": {"grammar": 'root ::= "a"'}}),
])  # fmt: skip
async def test_constraints(constraint: Constraint, expected: dict[str, Any]) -> None:
    assert await added(Sampling(constraint=constraint)) == expected


TOOLS = [
    {"type": "function", "function": {
        "name": "look_up", "description": "Finds a colour.",
        "parameters": {"type": "object", "required": ["b", "a"]}, "strict": True}},
    {"type": "function", "function": {"name": "stop"}},
]  # fmt: skip
TWO = (FUNCTION, Tool("stop"))


@pytest.mark.parametrize(("options", "expected"), [
    (PromptOptions(TWO), {"tools": TOOLS}),
    (PromptOptions(TWO, ToolChoice.NONE), {"tools": TOOLS, "tool_choice": "none"}),
    (PromptOptions(TWO, ToolChoice.REQUIRED), {"tools": TOOLS, "tool_choice": "required"}),
    (PromptOptions(TWO, ToolChoice.REQUIRED, "stop"),
     {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "stop"}}}),
    (PromptOptions(TWO, parallel_tools=False), {"tools": TOOLS, "parallel_tool_calls": False}),
    (PromptOptions(parallel_tools=False), {}),
    (PromptOptions(thinking=True),
     {"chat_template_kwargs": {"enable_thinking": True, "thinking": True}}),
    (PromptOptions(thinking=False),
     {"chat_template_kwargs": {"enable_thinking": False, "thinking": False}}),
    (PromptOptions(effort="high"), {"reasoning_effort": "high"}),
    (PromptOptions(continues=True),
     {"continue_final_message": True, "add_generation_prompt": False}),
])  # fmt: skip
async def test_options(options: PromptOptions, expected: dict[str, Any]) -> None:
    assert await added(options=options) == expected


async def test_a_conversation_with_tools_and_reasoning() -> None:
    call = ToolCall("call_1", "look_up", '{"b": 1}')
    body = await sent(
        request(
            user("What colour?"),
            Message(Role.ASSISTANT, (), (call,), reasoning="I need the tool."),
            Message(Role.TOOL, (TextPart("red"),), tool_call_id="call_1"),
            Message(Role.ASSISTANT, (TextPart("Let me"), TextPart(" see")), (call,)),
        )
    )
    wanted = {"id": "call_1", "type": "function",
              "function": {"name": "look_up", "arguments": '{"b": 1}'}}  # fmt: skip
    assert body["messages"] == [
        {"role": "user", "content": "What colour?"},
        {"role": "assistant", "content": None, "reasoning_content": "I need the tool.",
         "reasoning": "I need the tool.",
         "tool_calls": [wanted]},
        {"role": "tool", "content": "red", "tool_call_id": "call_1"},
        {"role": "assistant", "tool_calls": [wanted], "content": [
            {"type": "text", "text": "Let me"}, {"type": "text", "text": " see"}]},
    ]  # fmt: skip


async def test_a_plain_request_has_no_other_field() -> None:
    assert await added() == {}
    assert await added(Sampling(temperature=0.5)) == {"top_p": 1.0}


def test_json_of_clients_is_not_rewritten() -> None:
    """Numbers, their notation and the order of fields stay, whatever a parser makes of them."""
    constraint = Constraint(ConstraintKind.JSON_SCHEMA, SCHEMA)
    extra = '{"big":123456789012345678901234567890,"e":1E2,"z":1,"a":2}'
    asking = request(user("Hi"), sampling=Sampling(constraint=constraint, extra=extra))
    body = encode_body(asking, "m", fields_of(asking)).decode()
    assert f'"schema":{SCHEMA}' in body
    assert '"big":123456789012345678901234567890,"e":1E2,"z":1,"a":2' in body


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_an_extra_field_never_takes_the_place_of_another(name: str) -> None:
    plain = request(user("Hi"), sampling=Sampling())
    extra = replace(plain, sampling=Sampling(extra=json.dumps({name: 999, "mine": 1})))
    assert fields_of(extra).keys() - fields_of(plain).keys() == {"mine"}
    body = json.loads(encode_body(extra, "m", fields_of(extra)))
    assert 999 not in body.values()


@pytest.mark.parametrize("sampling", [
    Sampling(extra="[]"), Sampling(extra="{"), Sampling(extra='{"a":'),
    Sampling(constraint=Constraint(ConstraintKind.JSON_SCHEMA, "{'a': 1}")),
    Sampling(constraint=Constraint(ConstraintKind.JSON_SCHEMA, "[]")),
    Sampling(constraint=Constraint(ConstraintKind.CHOICE, '"red"')),
    Sampling(constraint=Constraint(ConstraintKind.CHOICE, "[1]")),
    Sampling(constraint=Constraint(ConstraintKind.CHOICE, '[""]')),
    Sampling(constraint=Constraint(ConstraintKind.CHOICE, "[]")),
    Sampling(constraint=Constraint(ConstraintKind.REGEX, "\ud83d")),
])  # fmt: skip
async def test_malformed_json_is_refused_before_anything_is_sent(sampling: Sampling) -> None:
    async with asked(SCRIPT) as (engine, server):
        with pytest.raises(InvalidRequest):
            await answer(engine, request(user("Hi"), sampling=sampling))
        assert not server.received


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NAMES = st.text("abcxyz_", min_size=1, max_size=8)
JSONS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(TEXTS, JSONS, max_size=4).map(as_json)
CONSTRAINTS = st.one_of(
    st.none(),
    st.just(Constraint(ConstraintKind.JSON_OBJECT)),
    st.builds(Constraint, st.just(ConstraintKind.JSON_SCHEMA), OBJECTS, NAMES, TEXTS),
    st.builds(Constraint, st.just(ConstraintKind.REGEX), TEXTS),
    st.builds(Constraint, st.just(ConstraintKind.GRAMMAR), TEXTS),
    st.lists(TEXTS, min_size=1).filter(any).map(as_json).map(
        lambda text: Constraint(ConstraintKind.CHOICE, text)
    ),
)  # fmt: skip
PENALTIES = st.floats(-2, 2)
SAMPLINGS = st.builds(
    Sampling,
    max_tokens=st.integers(1, 99),
    temperature=st.just(0.0) | st.floats(0, 2),
    top_p=st.just(1.0) | st.floats(0.1, 1),
    seed=st.none() | st.integers(0, 2**63),
    stop=st.lists(TEXTS.filter(bool), max_size=3).map(tuple),
    top_k=st.integers(0, 3),
    min_p=st.just(0.0) | st.floats(0, 1),
    frequency_penalty=st.just(0.0) | PENALTIES,
    presence_penalty=st.just(0.0) | PENALTIES,
    repetition_penalty=st.just(1.0) | st.floats(0.1, 2),
    logit_bias=st.dictionaries(st.integers(0, 99), st.floats(-100, 100), max_size=3).map(
        lambda biases: tuple(biases.items())
    ),
    min_tokens=st.integers(0, 2),
    ignore_eos=st.booleans(),
    stop_token_ids=st.lists(st.integers(0, 9), max_size=3).map(tuple),
    include_stop=st.booleans(),
    logprobs=st.none() | st.integers(0, 20),
    constraint=CONSTRAINTS,
    extra=st.just("") | st.dictionaries(NAMES, JSONS, max_size=3).map(as_json),
)
OPTIONS = st.builds(
    PromptOptions,
    tools=st.lists(st.builds(Tool, NAMES, TEXTS, st.just("") | OBJECTS, st.booleans()), max_size=3)
    .map(tuple),
    tool_choice=st.sampled_from(ToolChoice),
    parallel_tools=st.booleans(),
    thinking=st.none() | st.booleans(),
    effort=st.sampled_from(["", "low", "max"]),
    continues=st.booleans(),
)  # fmt: skip


@given(SAMPLINGS, OPTIONS, st.booleans())
def test_a_body_holds_exactly_what_was_asked(
    sampling: Sampling, options: PromptOptions, one: bool
) -> None:
    if not options.tools:  # these mean nothing without tools, and are not sent
        options = replace(options, tool_choice=ToolChoice.AUTO, parallel_tools=True)
    elif one:
        options = replace(options, tool_choice=ToolChoice.REQUIRED, tool=options.tools[-1].name)
    if sampling.temperature == 0:
        sampling = replace(sampling, top_p=1.0)
    if sampling.extra == "{}":
        sampling = replace(sampling, extra="")
    asking = replace(request(user("Hi"), sampling=sampling), options=options)
    body = json.loads(encode_body(asking, "m", Dialect().translate(fields_of(asking))))
    assert body["model"] == "m"
    assert body["messages"] == [{"role": "user", "content": "Hi"}]
    assert (body["stream"], body["stream_options"]) == (True, {"include_usage": True})
    assert (sampling_of(body), options_of(body)) == (sampling, options)


def test_the_property_covers_every_field() -> None:
    """A new parameter must be drawn above, or it would be forgotten here and in the body."""
    drawn = f"{SAMPLINGS} {OPTIONS}"
    names = [item.name for kind in (Sampling, PromptOptions) for item in fields(kind)]
    assert [name for name in names if f"{name}=" not in drawn] == ["tool", "raw"]
