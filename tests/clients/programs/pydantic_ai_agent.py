"""Pydantic AI: agents over chat completions, Responses and Messages."""

from __future__ import annotations

from typing import Any

from cases import GREEN, KEY, MODEL, QUESTION, RED, TOOL_QUESTION, URL, V1, case, check, main
from pydantic import BaseModel
from pydantic_ai import Agent, BinaryContent, NativeOutput, PromptedOutput, ToolOutput
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider


class Record(BaseModel):
    """A product's record."""

    category: str
    count: int


class Loose(BaseModel):
    """A record that every JSON object is: its form is only asked for in words."""


def chat() -> Any:
    return OpenAIChatModel(MODEL, provider=OpenAIProvider(base_url=V1, api_key=KEY))


def responses() -> Any:
    return OpenAIResponsesModel(MODEL, provider=OpenAIProvider(base_url=V1, api_key=KEY))


def messages() -> Any:
    return AnthropicModel(MODEL, provider=AnthropicProvider(base_url=URL, api_key=KEY))


def price(product: str) -> str:
    """Looks up the price of a product."""
    return f"{product}: 25 EUR"


async def differ(model: Any) -> None:
    texts = set()
    for image in (RED, GREEN):
        part = BinaryContent(image, media_type="image/jpeg")
        texts.add((await Agent(model).run([QUESTION, part])).output)
    check(len(texts) == 2, texts)


async def streamed(model: Any) -> None:
    async with Agent(model).run_stream(QUESTION) as answer:
        text = "".join([part async for part in answer.stream_text(delta=True)])
    check(text == (await Agent(model).run(QUESTION)).output, text)


async def record(model: Any, output: Any) -> None:
    answer = await Agent(model, output_type=output, retries=0).run(QUESTION)
    check(isinstance(answer.output, Record | Loose), answer)


async def called(model: Any, output: Any = str) -> None:
    agent = Agent(model, output_type=output, tools=[price], retries=0)
    answer = await agent.run(TOOL_QUESTION, model_settings={"max_tokens": 200})
    check(answer.output, answer)
    check("tool-call" in str([part.part_kind for m in answer.all_messages() for part in m.parts]))


@case("plain", "Agent.run")
async def plain() -> None:
    answer = await Agent(chat(), instructions="Be brief.").run(QUESTION)
    check(answer.output and answer.usage.output_tokens > 0, answer)


@case("stream", "Agent.run_stream")
async def stream() -> None:
    await streamed(chat())


@case("image", "BinaryContent")
async def image() -> None:
    await differ(chat())


@case("structured", "output_type=ToolOutput")
async def by_tool() -> None:
    await record(chat(), ToolOutput(Record))


@case("structured", "output_type=NativeOutput")
async def native() -> None:
    await record(chat(), NativeOutput(Record))


@case("structured", "output_type=PromptedOutput")
async def prompted() -> None:
    await record(chat(), PromptedOutput(Loose))


@case("tools", "Agent(tools=[...])")
async def tools() -> None:
    await called(chat())


@case("tools", "Agent(tools=[...], output_type=NativeOutput)")
async def tools_and_form() -> None:
    await called(chat(), NativeOutput(Record))


@case("logprobs", "openai_logprobs")
async def logprobs() -> None:
    settings: Any = {"openai_logprobs": True, "openai_top_logprobs": 2}
    answer = await Agent(chat()).run(QUESTION, model_settings=settings)
    details = answer.all_messages()[-1].provider_details
    check(details["logprobs"], details)


@case("sampling", "model_settings: penalties, logit_bias, extra_body")
async def sampling() -> None:
    settings: Any = {
        "frequency_penalty": 0.5,
        "presence_penalty": 0.5,
        "logit_bias": {"5": -100},
        "temperature": 0.7,
        "extra_body": {"top_k": 5},
    }
    check((await Agent(chat()).run(QUESTION, model_settings=settings)).output)


@case("reasoning", "openai_reasoning_effort")
async def reasoning() -> None:
    settings: Any = {"openai_reasoning_effort": "low"}
    check((await Agent(chat()).run(QUESTION, model_settings=settings)).output)


@case("responses", "OpenAIResponsesModel")
async def responses_plain() -> None:
    check((await Agent(responses()).run(QUESTION)).output)


@case("responses", "OpenAIResponsesModel, run_stream")
async def responses_stream() -> None:
    await streamed(responses())


@case("responses", "OpenAIResponsesModel, image")
async def responses_image() -> None:
    await differ(responses())


@case("responses", "OpenAIResponsesModel, ToolOutput and NativeOutput")
async def responses_structured() -> None:
    await record(responses(), ToolOutput(Record))
    await record(responses(), NativeOutput(Record))


@case("responses", "OpenAIResponsesModel, tools")
async def responses_tools() -> None:
    await called(responses())


@case("messages", "AnthropicModel, run_stream")
async def messages_stream() -> None:
    await streamed(messages())


@case("messages", "AnthropicModel, image")
async def messages_image() -> None:
    await differ(messages())


@case("messages", "AnthropicModel, ToolOutput")
async def messages_structured() -> None:
    await record(messages(), ToolOutput(Record))


@case("messages", "AnthropicModel, tools")
async def messages_tools() -> None:
    await called(messages())


if __name__ == "__main__":
    main("pydantic-ai-slim")
