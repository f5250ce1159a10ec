"""What tools, reasoning and prefill do in every engine that declares them."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from silkline.core import (
    Answer,
    Feature,
    FinishReason,
    Message,
    PromptOptions,
    Role,
    Sampling,
    TextPart,
    Tool,
    ToolCall,
    ToolChoice,
)
from silkline.engines.base import Engine
from tests.engines.asking import answer, question, same

PARAMETERS = '{"type": "object", "properties": {"city": {"type": "string"}}}'
TOOLS = (Tool("get_weather", "The weather in a city.", PARAMETERS), Tool("get_time"))
CALL = ToolCall("call_1", "get_weather", '{"city": "Aachen"}')
RESULT = Message(Role.TOOL, (TextPart("It rains."),), tool_call_id="call_1")
LONG = Sampling(max_tokens=200)


async def said(engine: Engine, text: str, *more: Message, **options: object) -> Answer:
    """The answer to a text, and further messages; the whole equals the stream."""
    first = question(text, seed=None, sampling=LONG)
    asked = replace(
        first,
        messages=(*first.messages, *more),
        options=PromptOptions(**options),  # type: ignore[arg-type]
    )
    whole = await answer(engine, replace(asked, stream=False))
    streamed = await answer(engine, asked)
    assert same(streamed, whole)
    return whole


class ChatConformance:
    """The suite; each test is about a feature, and asserts nothing else if the engine lacks it."""

    ANSWERS_WITH_TEXT: ClassVar[bool] = True
    """Whether all tokens of its answers have text; a model with random weights says any token."""

    async def test_tools_are_part_of_the_prompt(self, engine: Engine) -> None:
        if Feature.TOOLS not in engine.info.features:
            return
        plain = await said(engine, "Hello.")
        none = await said(engine, "Hello.", tools=TOOLS, tool_choice=ToolChoice.NONE)
        assert same(none, plain)
        auto = await said(engine, "Hello.", tools=TOOLS)
        assert auto.usage.prompt_tokens > plain.usage.prompt_tokens + 8
        check_calls(auto)
        calls = Message(Role.ASSISTANT, (TextPart(""),), (CALL,))
        history = await said(engine, "get_weather", calls, RESULT, tools=TOOLS)
        assert history.usage.prompt_tokens > auto.usage.prompt_tokens
        check_calls(history)

    async def test_reasoning_is_apart_and_counted(self, engine: Engine) -> None:
        if Feature.THINKING not in engine.info.features:
            return
        thought = await said(engine, "Hello.", thinking=True)
        assert bool(thought.reasoning) <= bool(thought.usage.reasoning_tokens)
        assert thought.usage.reasoning_tokens <= thought.usage.completion_tokens
        silent = await said(engine, "Hello.", thinking=False)
        assert silent.usage.reasoning_tokens == 0
        assert not silent.reasoning

    async def test_an_answer_continues_the_last_message(self, engine: Engine) -> None:
        if Feature.PREFILL not in engine.info.features:
            return
        whole = (await said(engine, "What is this?")).text
        start = whole[: whole.find(" ", len(whole) // 3)]
        last = Message(Role.ASSISTANT, (TextPart(start),))
        rest = (await said(engine, "What is this?", last, continues=True)).text
        assert (start + rest)[: len(whole)] == whole or not self.ANSWERS_WITH_TEXT


def check_calls(found: Answer) -> None:
    """Calls have an id and a name, and are the reason why the answer ended."""
    assert all(call.id and call.name for call in found.tool_calls)
    assert len({call.id for call in found.tool_calls}) == len(found.tool_calls)
    if found.finish_reason is not FinishReason.LENGTH:
        assert (found.finish_reason is FinishReason.TOOL_CALLS) is bool(found.tool_calls)
