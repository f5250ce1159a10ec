"""LlamaIndex: `OpenAILike`, its class for servers with OpenAI's API."""

from __future__ import annotations

from typing import Any

from cases import GREEN, KEY, MODEL, QUESTION, RED, V1, case, check, main
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, TextBlock
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel


class Record(BaseModel):
    """A product's record."""

    category: str
    count: int


def price(product: str) -> str:
    """Looks up the price of a product."""
    return f"{product}: 25 EUR"


TOOL = FunctionTool.from_defaults(price)


def model(**fields: Any) -> OpenAILike:
    return OpenAILike(
        model=MODEL, api_base=V1, api_key=KEY, max_retries=0, context_window=8192,
        is_chat_model=True, is_function_calling_model=True, **fields,
    )  # fmt: skip


def ask(image: bytes | None = None) -> list[ChatMessage]:
    blocks: list[Any] = [TextBlock(text=QUESTION)]
    if image:
        blocks.insert(0, ImageBlock(image=image, image_mimetype="image/jpeg"))
    return [ChatMessage(role="user", blocks=blocks)]


@case("plain", "OpenAILike.chat")
def plain() -> None:
    check(model().chat(ask()).message.content)


@case("plain", "OpenAILike.complete")
def complete() -> None:
    check(model().complete(QUESTION).text)


@case("plain", "OpenAILike.achat")
async def plain_async() -> None:
    check((await model().achat(ask())).message.content)


@case("stream", "OpenAILike.stream_chat")
def stream() -> None:
    text = "".join(part.delta or "" for part in model().stream_chat(ask()))
    check(text == model().chat(ask()).message.content, text)


@case("image", "ImageBlock")
def image() -> None:
    texts = {model().chat(ask(each)).message.content for each in (RED, GREEN)}
    check(len(texts) == 2 and None not in texts, texts)


@case("structured", "as_structured_llm")
def structured() -> None:
    answer = model().as_structured_llm(Record).chat(ask(RED))
    check(isinstance(answer.raw, Record), answer)


@case("structured", "as_structured_llm(should_use_structured_outputs=True)")
def structured_schema() -> None:
    made = model(should_use_structured_outputs=True).as_structured_llm(Record)
    check(isinstance(made.chat(ask(RED)).raw, Record))


@case("tools", "chat_with_tools, results sent back")
def tools() -> None:
    history = ask()
    first = model().chat_with_tools([TOOL], chat_history=history, tool_required=True)
    calls = model().get_tool_calls_from_response(first)
    check([call.tool_name for call in calls] == ["price"], first)
    history.append(first.message)
    history += [
        ChatMessage(
            role="tool",
            content=str(TOOL.call(**call.tool_kwargs)),
            additional_kwargs={"tool_call_id": call.tool_id},
        )
        for call in calls
    ]
    check(model().chat_with_tools([TOOL], chat_history=history).message.content)


@case("tools", "stream_chat_with_tools")
def tools_streamed() -> None:
    parts = list(model().stream_chat_with_tools([TOOL], QUESTION, tool_required=True))
    calls = model().get_tool_calls_from_response(parts[-1])
    check([call.tool_name for call in calls] == ["price"], parts[-1])


@case("logprobs", "logprobs=True")
def logprobs() -> None:
    answer = model(logprobs=True, top_logprobs=2).chat(ask())
    check(answer.logprobs, answer)


@case("sampling", "additional_kwargs: penalties, top_k")
def sampling() -> None:
    fields = {"frequency_penalty": 0.5, "extra_body": {"top_k": 5, "min_p": 0.1}}
    check(model(temperature=0.7, additional_kwargs=fields).chat(ask()).message.content)


if __name__ == "__main__":
    main("llama-index-llms-openai-like")
