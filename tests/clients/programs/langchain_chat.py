"""LangChain: `ChatOpenAI` of langchain-openai, and `ChatAnthropic` of langchain-anthropic."""

from __future__ import annotations

from typing import Any

from cases import GREEN, KEY, MODEL, QUESTION, RED, URL, V1, case, check, data_url, in_base64, main
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel


class Record(BaseModel):
    """A product's record."""

    category: str
    count: int


@tool
def price(product: str) -> str:
    """Looks up the price of a product."""
    return f"{product}: 25 EUR"


def model(**fields: Any) -> ChatOpenAI:
    return ChatOpenAI(model=MODEL, base_url=V1, api_key=KEY, max_retries=0, **fields)


def other(**fields: Any) -> ChatAnthropic:
    return ChatAnthropic(model=MODEL, base_url=URL, api_key=KEY, max_retries=0, **fields)


def ask(image: bytes) -> list[HumanMessage]:
    """An image as OpenAI's part, then a question."""
    part = {"type": "image_url", "image_url": {"url": data_url(image)}}
    return [HumanMessage([part, {"type": "text", "text": QUESTION}])]


def ask_block(image: bytes) -> list[HumanMessage]:
    """An image as LangChain's own block, then a question."""
    block = {"type": "image", "base64": in_base64(image), "mime_type": "image/jpeg"}
    return [HumanMessage([block, {"type": "text", "text": QUESTION}])]


def differ(chat: Any, asked: Any) -> None:
    texts = {chat.invoke(asked(image)).text for image in (RED, GREEN)}
    check(len(texts) == 2 and "" not in texts, texts)


def loop(chat: Any) -> None:
    """Has a tool called, and sends the results back."""
    history: list[Any] = [HumanMessage(QUESTION)]
    first = chat.bind_tools([price], tool_choice="any").invoke(history)
    check(first.tool_calls and first.tool_calls[0]["name"] == "price", first)
    history += [first, *(price.invoke(call) for call in first.tool_calls)]
    check(isinstance(history[-1], ToolMessage), history)
    check(chat.bind_tools([price]).invoke(history).text, history)


@case("plain", "ChatOpenAI.invoke")
def plain() -> None:
    answer = model().invoke(QUESTION)
    check(answer.text and answer.usage_metadata["total_tokens"] > 0, answer)


@case("plain", "ChatOpenAI.ainvoke, batch")
async def plain_async() -> None:
    check((await model().ainvoke(QUESTION)).text)
    check(len(await model().abatch(["One?", "Two?"])) == 2)


@case("stream", "ChatOpenAI.stream")
def stream() -> None:
    text = "".join(chunk.text for chunk in model(stream_usage=True).stream(QUESTION))
    check(text == model().invoke(QUESTION).text, text)


@case("image", "image_url part")
def image() -> None:
    differ(model(), ask)


@case("image", "LangChain's image block")
def image_block() -> None:
    differ(model(), ask_block)


@case("structured", 'with_structured_output(method="json_schema")')
def structured() -> None:
    made = model().with_structured_output(Record, method="json_schema")
    check(isinstance(made.invoke(ask(RED)), Record))


@case("structured", 'with_structured_output(method="function_calling")')
def structured_by_tool() -> None:
    made = model().with_structured_output(Record, method="function_calling")
    check(isinstance(made.invoke(ask(RED)), Record))


@case("structured", 'with_structured_output(method="json_mode")')
def structured_by_mode() -> None:
    found = model().with_structured_output(None, method="json_mode").invoke("Give JSON.")
    check(isinstance(found, dict), found)


@case("tools", "bind_tools, results sent back")
def tools() -> None:
    loop(model())


@case("tools", "bind_tools, streamed")
def tools_streamed() -> None:
    chunks = list(model().bind_tools([price], tool_choice="price").stream(QUESTION))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    check([call["name"] for call in whole.tool_calls] == ["price"], whole)
    check(set(whole.tool_calls[0]["args"]) == {"product"}, whole)


@case("n", "generate with n=2")
def several() -> None:
    made = model(n=2, temperature=1).generate([[HumanMessage(QUESTION)]])
    check(len(made.generations[0]) == 2, made)


@case("logprobs", "logprobs=True")
def logprobs() -> None:
    answer = model(logprobs=True, top_logprobs=2).invoke(QUESTION)
    check(answer.response_metadata["logprobs"]["content"], answer)


@case("sampling", "penalties, extra_body: top_k")
def sampling() -> None:
    fields: Any = {"frequency_penalty": 0.5, "presence_penalty": 0.5, "temperature": 0.7}
    check(model(**fields, extra_body={"top_k": 5}).invoke(QUESTION).text)


@case("reasoning", "reasoning_effort")
def reasoning() -> None:
    check(model(reasoning_effort="low").invoke(QUESTION).text)


@case("responses", "use_responses_api=True")
def responses() -> None:
    differ(model(use_responses_api=True), ask)


@case("responses", "use_responses_api=True, stream")
def responses_stream() -> None:
    text = "".join(chunk.text for chunk in model(use_responses_api=True).stream(QUESTION))
    check(text == model().invoke(QUESTION).text, text)


@case("responses", "use_responses_api=True, bind_tools")
def responses_tools() -> None:
    loop(model(use_responses_api=True))


@case("responses", "use_responses_api=True, with_structured_output")
def responses_structured() -> None:
    made = model(use_responses_api=True).with_structured_output(Record, method="json_schema")
    check(isinstance(made.invoke(ask(RED)), Record))


@case("messages", "ChatAnthropic.invoke, stream")
def messages() -> None:
    check(other().invoke(QUESTION).text == "".join(c.text for c in other().stream(QUESTION)))


@case("messages", "ChatAnthropic, image")
def messages_image() -> None:
    differ(other(), ask_block)


@case("messages", "ChatAnthropic.bind_tools, results sent back")
def messages_tools() -> None:
    loop(other())


@case("messages", "ChatAnthropic.with_structured_output")
def messages_structured() -> None:
    check(isinstance(other().with_structured_output(Record).invoke(QUESTION), Record))


if __name__ == "__main__":
    main("langchain-openai")
