"""llama.cpp and SGLang get fields in their words; servers that refuse a field get an older one."""

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from silkline.core import (
    Constraint,
    ConstraintKind,
    Feature,
    Message,
    PromptOptions,
    Role,
    Sampling,
    TextPart,
    Tool,
    ToolCall,
    ToolChoice,
)
from silkline.engines.remote.servers import ServerKind, in_words_of
from silkline.errors import InvalidRequest
from tests.engines.asking import answer, request, user
from tests.engines.openai_server import asked
from tests.engines.test_remote_fields import FORMS, refusing

EVERY = set(Feature) - {Feature.RAW, Feature.TOKENIZE}
"""The features that a chat completion can ask for."""

ALWAYS = {"model", "messages", "max_tokens", "temperature", "stream", "stream_options"}
TOOLS = (Tool("one", parameters='{"type":"object"}'), Tool("two"))


def listing(owner: str) -> dict[str, Any]:
    return {"data": [{"id": "org/model", "owned_by": owner, "max_model_len": 2048}]}


async def sent(
    owner: str, sampling: Sampling | None = None, options: PromptOptions | None = None
) -> dict[str, Any]:
    """The fields that these add to the body that a server of this kind gets."""
    asking = request(user("Hi"), sampling=sampling or Sampling())
    async with asked(refusing("", 400, b""), listing(owner)) as (engine, server):
        await answer(engine, replace(asking, options=options or PromptOptions()))
        body = server.received[0].body
    return {name: value for name, value in body.items() if name not in ALWAYS}


def constrained(kind: ConstraintKind, text: str) -> Sampling:
    return Sampling(constraint=Constraint(kind, text))


@pytest.mark.parametrize(("sampling", "expected"), [
    (Sampling(top_k=5, min_p=0.5, ignore_eos=True),
     {"top_k": 5, "min_p": 0.5, "ignore_eos": True}),
    (Sampling(repetition_penalty=1.5), {"repeat_penalty": 1.5, "repeat_last_n": 2048}),
    (Sampling(frequency_penalty=1), {"frequency_penalty": 1, "repeat_last_n": 2048}),
    (Sampling(logprobs=0), {"n_probs": 1}),
    (Sampling(logprobs=5), {"n_probs": 5}),
    (Sampling(logit_bias=((5, -1.0),)), {"logit_bias": {"5": -1.0}}),
    (constrained(ConstraintKind.JSON_OBJECT, ""), {"response_format": {"type": "json_object"}}),
    (constrained(ConstraintKind.GRAMMAR, 'root ::= "a"'), {"grammar": 'root ::= "a"'}),
    (constrained(ConstraintKind.CHOICE, r'["red", "a \"b\"", "c\\d", "e\nf"]'),
     {"grammar": r'root ::= "red" | "a \"b\"" | "c\\d" | "e\x0af"'}),
])  # fmt: skip
async def test_sampling_in_the_words_of_llamacpp(
    sampling: Sampling, expected: dict[str, Any]
) -> None:
    assert await sent("llamacpp", sampling) == expected


async def test_tools_in_the_words_of_llamacpp() -> None:
    body = await sent("llamacpp", options=PromptOptions(TOOLS))
    assert [tool["function"]["name"] for tool in body["tools"]] == ["one", "two"]
    assert body["parallel_tool_calls"] is True
    body = await sent(
        "llamacpp",
        options=PromptOptions(TOOLS, ToolChoice.REQUIRED, "two", parallel_tools=False),
    )
    assert body == {
        "tools": [{"type": "function", "function": {"name": "two"}}],
        "tool_choice": "required", "parallel_tool_calls": False,
    }  # fmt: skip


async def test_reasoning_in_the_words_of_llamacpp() -> None:
    assert await sent("llamacpp", options=PromptOptions(thinking=True, effort="low")) == {
        "chat_template_kwargs": {
            "enable_thinking": True,
            "thinking": True,
            "reasoning_effort": "low",
        }
    }
    assert await sent("llamacpp", options=PromptOptions(effort="high")) == {
        "chat_template_kwargs": {"reasoning_effort": "high"}
    }


@pytest.mark.parametrize(("sampling", "expected"), [
    (Sampling(top_k=5, min_tokens=3, stop_token_ids=(1,)),
     {"top_k": 5, "min_tokens": 3, "stop_token_ids": [1]}),
    (Sampling(include_stop=True), {"no_stop_trim": True}),
    (Sampling(logprobs=3), {"logprobs": True, "top_logprobs": 3}),
    (constrained(ConstraintKind.REGEX, r"\d+"), {"regex": r"\d+"}),
    (constrained(ConstraintKind.GRAMMAR, 'root ::= "a"'), {"ebnf": 'root ::= "a"'}),
    (constrained(ConstraintKind.CHOICE, '["red", "a.b|(c)", "1+1=2?"]'),
     {"regex": r"(red)|(a\.b\|\(c\))|(1\+1=2\?)"}),
])  # fmt: skip
async def test_sampling_in_the_words_of_sglang(
    sampling: Sampling, expected: dict[str, Any]
) -> None:
    assert await sent("sglang", sampling) == expected


@given(st.lists(st.text(max_size=6), min_size=1, max_size=4))
def test_a_regex_of_choices_matches_just_them(choices: list[str]) -> None:
    fields = in_words_of(ServerKind.SGLANG, {"structured_outputs": {"choice": choices}}, 1)
    for choice in choices:
        assert re.fullmatch(fields["regex"], choice)
        assert not re.fullmatch(fields["regex"], choice + "?x") or choice + "?x" in choices


async def features(listing: Any = None, **extra: str) -> set[Feature]:
    async with asked(refusing("", 400, b""), listing, **extra) as (engine, _):
        return set(engine.info.features)


async def test_what_each_kind_of_server_supports() -> None:
    assert await features() == EVERY
    assert await features(listing("vllm")) == EVERY | {Feature.RAW}
    assert await features(listing("sglang")) == EVERY | {Feature.RAW}
    assert EVERY - await features(listing("llamacpp")) == {
        Feature.MIN_TOKENS, Feature.STOP_TOKEN_IDS, Feature.INCLUDE_STOP, Feature.REGEX
    }  # fmt: skip
    for odd in (5, None, ["llamacpp"], {"a": 1}):
        assert await features({"data": [{"id": "a", "owned_by": odd}]}) == EVERY


async def test_another_silkline_reports_its_own() -> None:
    for reported, known in (
        (["tools", "top_k", "flying", "raw"], {Feature.TOOLS, Feature.TOP_K}),
        ([], set()),
        ([5, None, {}], set()),
        (["raw_prompt", "tokenize"], {Feature.RAW}),
        ("tools", EVERY),
    ):
        assert await features({"data": [{"id": "a", "features": reported}]}) == known


async def test_the_settings_take_features_away() -> None:
    given = await features(without="tools+strict_tools")
    assert EVERY - given == {Feature.TOOLS, Feature.STRICT_TOOLS}


async def test_tools_that_may_not_be_called_are_not_sent_to_a_server_without_tools() -> None:
    options = PromptOptions(TOOLS, ToolChoice.NONE)
    asking = replace(request(user("Hi")), options=options)
    async with asked(refusing("tools", 400, b""), without="tools") as (engine, server):
        await answer(engine, asking)
        assert not server.received[0].body.keys() & {"tools", "tool_choice"}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("kind", "text"), [
    (ConstraintKind.REGEX, "a+"), (ConstraintKind.CHOICE, '["a"]'), (ConstraintKind.GRAMMAR, "x"),
])  # fmt: skip
async def test_an_older_vllm_gets_the_older_names(
    form: Any, kind: ConstraintKind, text: str
) -> None:
    script = refusing("structured_outputs", 400, form("structured_outputs"))
    asking = request(user("Hi"), sampling=constrained(kind, text))
    async with asked(script) as (engine, server):
        await answer(engine, asking)
        await answer(engine, asking)
        first, second, third = (received.body for received in server.received)
    value = first.pop("structured_outputs")[kind]
    assert second == third == {**first, f"guided_{kind}": value}


@pytest.mark.parametrize("form", FORMS)
async def test_a_server_without_template_options_gets_an_effort_of_none(form: Any) -> None:
    field = "chat_template_kwargs"
    async with asked(refusing(field, 400, form(field))) as (engine, server):
        off = replace(request(user("Hi")), options=PromptOptions(thinking=False))
        await answer(engine, off)
        assert server.received[-1].body["reasoning_effort"] == "none"
        on = replace(off, options=PromptOptions(thinking=True))
        with pytest.raises(InvalidRequest) as caught:
            await answer(engine, on)
        assert caught.value.param == field


ASKED = replace(
    request(
        user("Hi"),
        Message(Role.ASSISTANT, (), (ToolCall("call_1", "one", "{}"),)),
        Message(Role.TOOL, (TextPart("1"),), tool_call_id="call_1"),
        sampling=Sampling(
            temperature=0.5, top_p=0.5, seed=1, stop=("x",), top_k=5, min_p=0.1,
            frequency_penalty=1, presence_penalty=1, repetition_penalty=2, logit_bias=((1, 1),),
            min_tokens=1, ignore_eos=True, stop_token_ids=(1,), include_stop=True, logprobs=2,
            constraint=Constraint(ConstraintKind.JSON_OBJECT), extra='{"their_own": 1}',
        ),
    ),
    options=PromptOptions(
        TOOLS, ToolChoice.REQUIRED, parallel_tools=False, thinking=True, effort="low",
        continues=True,
    ),
)  # fmt: skip
REFUSABLE = [
    "temperature", "top_p", "seed", "stop", "top_k", "min_p", "frequency_penalty",
    "presence_penalty", "repetition_penalty", "logit_bias", "min_tokens", "ignore_eos",
    "stop_token_ids", "include_stop_str_in_output", "logprobs", "top_logprobs", "response_format",
    "tools", "tool_choice", "parallel_tool_calls", "reasoning_effort", "chat_template_kwargs",
    "continue_final_message", "their_own",
]  # fmt: skip


@pytest.mark.parametrize("field", REFUSABLE)
async def test_a_refused_field_is_named_to_the_client(field: str) -> None:
    form = FORMS[REFUSABLE.index(field) % len(FORMS)]
    async with asked(refusing(field, 400, form(field))) as (engine, server):
        with pytest.raises(InvalidRequest) as caught:
            await answer(engine, ASKED)
        assert caught.value.param == field
        assert f"'{field}'" in caught.value.message
        assert len(server.received) == 1


@pytest.mark.parametrize(("message", "param"), [
    ('"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser', "tools"),
    ("logprobs is not supported with tools + stream", "logprobs"),
    ("Cannot use custom grammar constraints with tools.", "tools"),
    ("This model does not support `secret_field`: not supported", None),
    ("add_generation_prompt: extra fields not permitted", "continue_final_message"),
    ("no such file /srv/secret", None),
])  # fmt: skip
async def test_free_text_is_searched_for_fields_that_were_sent(
    message: str, param: str | None
) -> None:
    plain = replace(
        ASKED,
        sampling=replace(ASKED.sampling, constraint=None),
        options=replace(ASKED.options, tool_choice=ToolChoice.AUTO),
    )
    body = {"error": {"message": message, "type": "BadRequestError", "code": 400}}
    async with asked(refusing("stream", 400, body)) as (engine, _):
        with pytest.raises(InvalidRequest) as caught:
            await answer(engine, plain)
    assert caught.value.param == param
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(("path", "param"), [
    ("tools.0.function.parameters", "tools"), ("tools[0].function", "tools"),
    ("messages.0.content", "messages"), ("user", None), ("their_own.a", "their_own"),
])  # fmt: skip
async def test_a_path_is_reduced_to_its_field(path: str, param: str | None) -> None:
    body = {"error": {"message": "no", "param": path, "code": 400}}
    async with asked(refusing("stream", 400, body)) as (engine, _):
        with pytest.raises(InvalidRequest) as caught:
            await answer(engine, ASKED)
    assert caught.value.param == param


@pytest.mark.parametrize(("sampling", "field", "asked_as"), [
    (constrained(ConstraintKind.GRAMMAR, "x"), "grammar", "structured_outputs"),
    (Sampling(repetition_penalty=2), "repeat_penalty", "repetition_penalty"),
    (Sampling(logprobs=1), "n_probs", "logprobs"),
])  # fmt: skip
async def test_the_client_reads_its_own_name_of_a_field(
    sampling: Sampling, field: str, asked_as: str
) -> None:
    body = {"error": {"message": f"Field '{field}': unsupported", "code": 400}}
    async with asked(refusing(field, 400, body), listing("llamacpp")) as (engine, _):
        with pytest.raises(InvalidRequest) as caught:
            await answer(engine, request(user("Hi"), sampling=sampling))
    assert caught.value.param == asked_as
    assert f"'{field}'" not in caught.value.message
