"""Tools, reasoning and prefill through a remote server: the same answers as from its engine."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace

import pytest

from silkline.core import (
    Answer,
    Constraint,
    ConstraintKind,
    FinishReason,
    Message,
    PromptOptions,
    Request,
    Role,
    Sampling,
    TextPart,
    Timeline,
    Tool,
    ToolCall,
    ToolChoice,
)
from silkline.engines.base import Engine, EngineOptions
from silkline.engines.fake import create_engine as create_fake
from silkline.engines.remote import create_engine
from tests.engines.asking import answer, deltas, request, user
from tests.engines.openai_server import computed, openai_server
from tests.serving import Served, served

SERVERS = {"silkline": "", "vllm": "vllm", "sglang": "sglang", "llama": "llamacpp"}
TOOLS = (
    Tool("find", "Finds a thing.", '{"type":"object","properties":{"what":{"type":"string"}},'
         '"required":["what"]}', strict=True),
    Tool("paint", "", '{"type":"object","properties":{"red":{"type":"boolean"}},'
         '"required":["red"]}'),
    Tool("leave"),
)  # fmt: skip
CALLED = Message(Role.ASSISTANT, (TextPart(""),), (ToolCall("call_1", "find", '{"what":"x"}'),),
                 reasoning="I should look.")  # fmt: skip
RESULT = Message(Role.TOOL, (TextPart("It is red."),), tool_call_id="call_1")


@pytest.fixture(scope="module")
def far() -> Iterator[Served]:
    with served("--engine", "fake", "--cache-ttl", "0") as far:
        yield far


@pytest.fixture
async def fake() -> AsyncIterator[Engine]:
    async with aclosing(create_fake(EngineOptions())) as engine:
        await engine.start()
        yield engine


@pytest.fixture(params=SERVERS)
async def remote(
    request: pytest.FixtureRequest, fake: Engine, far: Served
) -> AsyncIterator[Engine]:
    """A remote engine of each kind of server, all of which ask a fake engine."""
    dialect = request.param
    async with AsyncExitStack() as stack:
        url = far.url
        if SERVERS[dialect]:
            listing = {"data": [{"id": "m", "owned_by": SERVERS[dialect], "max_model_len": 8192}]}
            server = openai_server(computed(fake, dialect), listing)
            url = (await stack.enter_async_context(server)).url
        engine = create_engine(EngineOptions(extra={"url": url}))
        await stack.enter_async_context(aclosing(engine))
        await engine.start()
        yield engine


def asking(
    *messages: Message | str, sampling: Sampling | None = None, **options: object
) -> Request:
    """A request of at most 200 tokens; a text is a message of the user."""
    turns = [user(each) if isinstance(each, str) else each for each in messages]
    plain = request(*turns, sampling=sampling or Sampling(max_tokens=200))
    return replace(plain, options=PromptOptions(**options))  # type: ignore[arg-type]


def bare(answer: Answer) -> Answer:
    """The answer without what differs from engine to engine: times, and the ids of calls."""
    calls = tuple(replace(call, id="") for call in answer.tool_calls)
    return replace(answer, timeline=Timeline(), tool_calls=calls)


SCHEMA = '{"type":"object","properties":{"a":{"enum":[1,2]}},"required":["a"]}'


def constrained(kind: ConstraintKind, text: str = "") -> Request:
    return asking("Hello", sampling=Sampling(max_tokens=99, constraint=Constraint(kind, text)))


CASES = {
    "no call": (asking("Hello", tools=TOOLS), ()),
    "a call": (asking("please find it", tools=TOOLS), ("find",)),
    "several": (asking("find it and paint it", tools=TOOLS), ("find", "paint")),
    "one at a time": (asking("find, paint", tools=TOOLS, parallel_tools=False), ("find",)),
    "none": (asking("find it", tools=TOOLS, tool_choice=ToolChoice.NONE), ()),
    "required": (asking("Hello", tools=TOOLS, tool_choice=ToolChoice.REQUIRED), ("find",)),
    "a chosen one": (
        asking("find it", tools=TOOLS, tool_choice=ToolChoice.REQUIRED, tool="leave"), ("leave",)
    ),
    "after the result": (asking("find it", CALLED, RESULT, tools=TOOLS), ()),
    "thinking": (asking("Hello", thinking=True), ()),
    "thinking with effort": (asking("Hello", thinking=True, effort="high"), ()),
    "effort": (asking("Hello", effort="low"), ()),
    "thinking off": (asking("Hello", thinking=False), ()),
    "thinking and a call": (asking("find it", tools=TOOLS, thinking=True), ("find",)),
    "prefill": (
        asking("Hello", Message(Role.ASSISTANT, (TextPart("The "),)), continues=True), ()
    ),
    "JSON": (constrained(ConstraintKind.JSON_OBJECT), ()),
    "a schema": (constrained(ConstraintKind.JSON_SCHEMA, SCHEMA), ()),
    "a grammar": (constrained(ConstraintKind.GRAMMAR, 'root ::= "yes" | "no"'), ()),
    "logprobs": (asking("Hello", sampling=Sampling(max_tokens=9, logprobs=2)), ()),
    "logprobs of a call": (
        asking("find it", tools=TOOLS, sampling=Sampling(max_tokens=99, logprobs=0)), ("find",)
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
async def test_the_answer_is_that_of_the_engine(remote: Engine, fake: Engine, case: str) -> None:
    asked, called = CASES[case]
    expected = await answer(fake, asked)
    for stream in (True, False):
        got = await answer(remote, replace(asked, stream=stream))
        assert bare(got) == bare(expected)
        assert tuple(call.name for call in got.tool_calls) == called
        assert (got.finish_reason is FinishReason.TOOL_CALLS) is bool(called)
        assert all(call.id for call in got.tool_calls)


@pytest.mark.parametrize("choices", [["red", "blue"], ['a "b"'], ["a.b|(c)"], ["e\\f\n"], ["é"]])
async def test_the_answer_is_one_of_the_choices(remote: Engine, choices: list[str]) -> None:
    """Servers get choices in their own forms, so that their engines may prefer another one."""
    asked = constrained(ConstraintKind.CHOICE, json.dumps(choices))
    assert (await answer(remote, asked)).text in choices


async def test_a_call_is_streamed(remote: Engine, fake: Engine) -> None:
    parts = await deltas(remote, CASES["a call"][0])
    assert sum(bool(part.tool_calls) for part in parts) > 1
    thought = await deltas(remote, CASES["thinking"][0])
    assert sum(bool(part.reasoning) for part in thought) > 1
