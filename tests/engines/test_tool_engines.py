"""Tools and reasoning in openvino and torch, with the bundled model and another template."""

import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from silkline.core import (
    Answer,
    Constraint,
    ConstraintKind,
    Feature,
    FinishReason,
    PromptOptions,
    Request,
    Sampling,
    Tool,
    ToolChoice,
)
from silkline.engines.base import Engine, EngineOptions
from silkline.engines.registry import create_engine
from silkline.engines.text_stream import TextStream
from silkline.errors import InvalidRequest
from silkline.models.resolve import bundled_folder
from tests.engines.asking import answer, picture, request, user
from tests.engines.chat.templates import THINKING
from tests.engines.conformance_chat import TOOLS, ChatConformance

STREAMS = {
    "openvino": "silkline.engines.openvino.engine.TextStream",
    "torch": "silkline.engines.torch.engine.TextStream",
}
TEMPLATE = (
    THINKING.replace("'<|im_start|>' + message.role + '\\n'", "'<|' + message.role + '|>'")
    .replace("<|im_end|>\\n", "<|end|>")
    .replace("<|im_end|>", "<|end|>")
)
OPENS = "{%- elif enable_thinking is defined %}{{- '<think>\\n' }}"
TEMPLATE = OPENS.join(TEMPLATE.rsplit("\n    {%- endif %}", 1)).removesuffix("\n{%- endif %}")
TEMPLATE += "{%- endif %}\n{%- endif %}"
for role in ("assistant", "user", "system"):
    TEMPLATE = TEMPLATE.replace(f"<|im_start|>{role}\\n", f"<|{role}|>")
STRICT = tuple(
    Tool(
        name,
        parameters=f'{{"properties": {{"{key}": {{"enum": [{value}]}}}}, "required": ["{key}"],'
        ' "additionalProperties": false}',
        strict=True,
    )
    for name, key, value in (("get_weather", "city", '"Ulm"'), ("get_time", "zone", "7"))
)


@pytest_asyncio.fixture(params=sorted(STREAMS), scope="module", loop_scope="module")
async def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Engine]:
    pytest.importorskip({"openvino": "openvino_genai", "torch": "transformers"}[request.param])
    folder = tmp_path_factory.mktemp("tools") / "model"
    shutil.copytree(bundled_folder(), folder)
    for path in (folder, folder / "openvino"):
        (path / "chat_template.jinja").write_text(TEMPLATE)
    own = {"device": "cpu", "dtype": "float32"} if request.param == "torch" else {}
    engine = create_engine(
        request.param,
        EngineOptions(model=folder, threads=1, kv_cache_bytes=64 * 1024 * 1024, extra=own),
    )
    await engine.start()
    yield engine
    await engine.aclose()


Say = Callable[[str], None]


@pytest.fixture
def say(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Say:
    """Makes the engine say a text, some characters with each token, however many it has."""

    def set_text(text: str) -> None:
        class Scripted(TextStream):
            def __init__(self, *_: Any, **__: Any) -> None:
                super().__init__(lambda _: "")
                self.sent = 0

            def push(self, tokens: Sequence[int]) -> str:
                start, self.sent = self.sent, self.sent + 23 * len(tokens)
                return text[start : self.sent]

            def finish(self) -> str:
                return text[self.sent :]

        monkeypatch.setattr(STREAMS[engine.info.engine], Scripted)

    return set_text


def asked(**options: Any) -> Request:
    first = request(
        user(0, "What is this?"), images=(picture(),), sampling=Sampling(max_tokens=120)
    )
    return Request(
        first.id, first.messages, first.images, first.sampling, options=PromptOptions(**options)
    )


async def said(engine: Engine, **options: Any) -> Answer:
    return await answer(engine, asked(**options))


CALLS = "".join(
    f'<tool_call>\n{{"name": "{name}", "arguments": {{"city": "Aachen"}}}}\n</tool_call>\n'
    for name in ("get_weather", "get_time")
)


@pytest.mark.asyncio(loop_scope="module")
class TestTools(ChatConformance):
    async def test_features(self, engine: Engine) -> None:
        assert {Feature.TOOLS, Feature.THINKING, Feature.PREFILL} <= engine.info.features
        assert Feature.EFFORT not in engine.info.features

    async def test_calls(self, engine: Engine, say: Say) -> None:
        say("Let me look.\n" + CALLS)
        both = await said(engine, tools=TOOLS)
        assert both.text == "Let me look.\n"
        assert [call.name for call in both.tool_calls] == ["get_weather", "get_time"]
        assert both.tool_calls[0].arguments == '{"city": "Aachen"}'
        assert both.finish_reason is FinishReason.TOOL_CALLS
        assert (await said(engine, tools=TOOLS)).tool_calls == both.tool_calls

    async def test_one_call_ends_the_answer(self, engine: Engine, say: Say) -> None:
        say(CALLS)
        both = await said(engine, tools=TOOLS)
        one = await said(engine, tools=TOOLS, parallel_tools=False)
        assert [call.name for call in one.tool_calls] == ["get_weather"]
        assert one.finish_reason is FinishReason.TOOL_CALLS
        assert one.usage.completion_tokens < both.usage.completion_tokens

    async def test_without_tools_calls_are_text(self, engine: Engine, say: Say) -> None:
        say(CALLS)
        for options in ({}, {"tools": TOOLS, "tool_choice": ToolChoice.NONE}):
            plain = await said(engine, **options)
            assert plain.text == CALLS
            assert plain.finish_reason is not FinishReason.TOOL_CALLS

    async def test_reasoning(self, engine: Engine, say: Say) -> None:
        say("<think>\n" + "Hm. " * 20 + "\n</think>\n\nA lamp.")
        thought = await said(engine)
        assert thought.reasoning == ("Hm. " * 20).strip()
        assert thought.text == "A lamp."
        assert thought.usage.reasoning_tokens == 4  # of 23 characters
        assert thought.usage.completion_tokens > 4

    async def test_calls_are_forced_and_match_their_schema(self, engine: Engine) -> None:
        forced = {"tool_choice": ToolChoice.REQUIRED, "parallel_tools": False, "thinking": False}
        assert Feature.STRICT_TOOLS in engine.info.features
        for tool, arguments in zip(STRICT, ('{"city":"Ulm"}', '{"zone":7}'), strict=True):
            called = await said(engine, tools=STRICT, tool=tool.name, **forced)
            assert (called.text, called.finish_reason) == ("", FinishReason.TOOL_CALLS)
            (call,) = called.tool_calls
            assert call.name == tool.name
            assert "".join(call.arguments.split()) == arguments
        (call,) = (await said(engine, tools=STRICT, **forced)).tool_calls
        assert call.name in {tool.name for tool in STRICT}

    async def test_strict_tools_that_cannot_be_enforced(self, engine: Engine) -> None:
        tool = Tool("f", parameters='{"properties": {"a": {"not": {}}}}', strict=True)
        with pytest.raises(InvalidRequest, match="strict tool f") as refused:
            await said(engine, tools=(tool,))
        assert refused.value.param == "tools"

    async def test_reasoning_comes_before_a_constrained_answer(self, engine: Engine) -> None:
        yes = Constraint(ConstraintKind.CHOICE, '["yes", "no"]')
        asking = asked(thinking=False)
        sampling = replace(asking.sampling, constraint=yes)
        plain = await answer(engine, replace(asking, sampling=sampling))
        assert plain.text in {"yes", "no"}
        prompt = PromptOptions(thinking=True)
        thinking = await answer(engine, replace(asking, sampling=sampling, options=prompt))
        assert thinking.reasoning not in {"", "yes", "no"}
        assert thinking.text in {"", "yes", "no"}
