"""The official `anthropic` package."""

from __future__ import annotations

from typing import Any

import anthropic
from cases import GREEN, KEY, MODEL, PDF, QUESTION, RED, URL, case, check, in_base64, main
from pydantic import BaseModel

client = anthropic.Anthropic(base_url=URL, api_key=KEY, max_retries=0)
messages = client.messages


class Record(BaseModel):
    """A product's record."""

    category: str
    count: int


TOOL: Any = {
    "name": "price",
    "description": "Looks up the price of a product.",
    "input_schema": {
        "type": "object",
        "properties": {"product": {"type": "string"}},
        "required": ["product"],
    },
}


def ask(image: bytes | None = None) -> Any:
    """Messages with one question, and an image before it."""
    blocks: list[dict[str, Any]] = [{"type": "text", "text": QUESTION}]
    if image:
        source = {"type": "base64", "media_type": "image/jpeg", "data": in_base64(image)}
        blocks.insert(0, {"type": "image", "source": source})
    return [{"role": "user", "content": blocks}]


def wanted(**fields: Any) -> Any:
    return messages.create(**{"model": MODEL, "max_tokens": 100, "messages": ask(), **fields})


def prompt_tokens(usage: Any) -> int:
    return int(usage.input_tokens + usage.cache_read_input_tokens)


def text_of(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


@case("plain", "messages.create")
def plain() -> None:
    answer = wanted(system="Be brief.")
    check(text_of(answer) and answer.stop_reason == "end_turn", answer)
    check(answer.usage.input_tokens > 0 and answer.usage.output_tokens > 0, answer)


@case("plain", "AsyncAnthropic")
async def plain_async() -> None:
    async with anthropic.AsyncAnthropic(base_url=URL, api_key=KEY, max_retries=0) as opened:
        answer = await opened.messages.create(model=MODEL, max_tokens=100, messages=ask())
    check(text_of(answer), answer)


@case("plain", "auth_token")
def bearer() -> None:
    other = anthropic.Anthropic(base_url=URL, auth_token=KEY, max_retries=0)
    check(text_of(other.messages.create(model=MODEL, max_tokens=100, messages=ask())))


@case("plain", "models.list")
def models() -> None:
    check(MODEL in [model.id for model in client.models.list()])


@case("plain", "messages.count_tokens")
def count_tokens() -> None:
    counted = messages.count_tokens(model=MODEL, messages=ask())
    check(counted.input_tokens == prompt_tokens(wanted().usage), counted)


@case("stream", "messages.stream")
def stream() -> None:
    with messages.stream(model=MODEL, max_tokens=100, messages=ask()) as events:
        text = "".join(events.text_stream)
        final = events.get_final_message()
    check(text == text_of(wanted()) == text_of(final), text)
    check(final.usage.output_tokens > 0 and final.stop_reason == "end_turn", final)


@case("stream", "messages.create(stream=True)")
def stream_raw() -> None:
    kinds = [event.type for event in wanted(stream=True)]
    check(kinds[0] == "message_start" and kinds[-1] == "message_stop", kinds)
    check({"content_block_start", "content_block_delta", "message_delta"} <= set(kinds), kinds)


@case("image", "base64 source")
def image() -> None:
    texts = {text_of(wanted(messages=ask(each))) for each in (RED, GREEN)}
    check(len(texts) == 2, texts)


@case("documents", "document block with a PDF")
def document() -> None:
    source = {"type": "base64", "media_type": "application/pdf", "data": PDF}
    block: Any = {"type": "document", "source": source}
    content = [block, {"type": "text", "text": QUESTION}]
    check(text_of(wanted(messages=[{"role": "user", "content": content}])))


@case("structured", "messages.parse")
def parse() -> None:
    answer = messages.parse(model=MODEL, max_tokens=500, messages=ask(), output_format=Record)
    check(isinstance(answer.parsed_output, Record), answer)


@case("tools", 'tool_choice={"type": "any"}')
def tool_any() -> None:
    answer = wanted(tools=[TOOL], tool_choice={"type": "any"})
    calls = [block for block in answer.content if block.type == "tool_use"]
    check(calls and answer.stop_reason == "tool_use", answer)
    check(set(calls[0].input) == {"product"}, calls)


@case("tools", "results sent back")
def tool_loop() -> None:
    answer = wanted(tools=[TOOL], tool_choice={"type": "tool", "name": "price"})
    results = [
        {"type": "tool_result", "tool_use_id": block.id, "content": "25 EUR"}
        for block in answer.content
        if block.type == "tool_use"
    ]
    history = [
        *ask(),
        {"role": "assistant", "content": answer.content},
        {"role": "user", "content": results},
    ]
    check(text_of(wanted(messages=history, tools=[TOOL])))


@case("tools", "streamed")
def tool_stream() -> None:
    with messages.stream(
        model=MODEL, max_tokens=100, messages=ask(), tools=[TOOL], tool_choice={"type": "any"}
    ) as events:
        kinds = {event.type for event in events}
        final = events.get_final_message()
    check("input_json" in kinds and final.stop_reason == "tool_use", (kinds, final))
    check(any(block.type == "tool_use" and block.input for block in final.content), final)


@case("sampling", "stop_sequences, extra_body: temperature, top_k, top_p")
def sampling() -> None:
    whole = text_of(wanted())
    stop = whole.split()[3]
    answer = wanted(stop_sequences=[stop])
    check(answer.stop_reason == "stop_sequence" and answer.stop_sequence == stop, answer)
    check(text_of(wanted(extra_body={"temperature": 0.7, "top_k": 5, "top_p": 0.9})))


@case("reasoning", 'thinking={"type": "enabled"}')
def thinking() -> None:
    answer = wanted(max_tokens=4000, thinking={"type": "enabled", "budget_tokens": 1024})
    check(text_of(answer), answer)


@case("unknown fields", "metadata, cache_control, extra_body: mood")
def unknown() -> None:
    system: Any = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    raw = messages.with_raw_response.create(
        model=MODEL, max_tokens=100, messages=ask(), system=system,
        metadata={"user_id": "me"}, extra_body={"mood": "calm"},
    )  # fmt: skip
    check(raw.headers.get("x-silkline-ignored") == "mood", raw.headers)
    check(text_of(raw.parse()))


if __name__ == "__main__":
    main("anthropic")
