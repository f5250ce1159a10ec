"""The official `openai` package."""

from __future__ import annotations

import json
from typing import Any, Literal

import openai
from cases import (
    GREEN,
    KEY,
    MODEL,
    PDF,
    QUESTION,
    RED,
    TOOL_QUESTION,
    V1,
    case,
    check,
    data_url,
    main,
)
from pydantic import BaseModel

client = openai.OpenAI(base_url=V1, api_key=KEY, max_retries=0)
later = openai.AsyncOpenAI(base_url=V1, api_key=KEY, max_retries=0)
chat = client.chat.completions


class Record(BaseModel):
    """A product's record."""

    category: str
    colour: Literal["red", "green", "blue"]
    count: int
    labels: list[str]


class Price(BaseModel):
    """Looks up the price of a product."""

    product: str
    currency: Literal["EUR", "USD"]


SCHEMA = {
    "type": "object",
    "properties": {"category": {"type": "string"}, "count": {"type": "integer"}},
    "required": ["category", "count"],
    "additionalProperties": False,
}
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "price",
        "description": "Looks up the price of a product.",
        "parameters": Price.model_json_schema(),
    },
}


def ask(text: str = QUESTION, image: bytes | None = None) -> Any:
    """Messages with one question, and an image before it."""
    parts: list[dict[str, Any]] = [{"type": "text", "text": text}]
    if image:
        parts.insert(0, {"type": "image_url", "image_url": {"url": data_url(image)}})
    return [{"role": "user", "content": parts}]


def wanted(**fields: Any) -> Any:
    return chat.create(model=MODEL, messages=ask(), **fields)


@case("plain", "chat.completions.create")
def plain() -> None:
    answer = chat.create(model=MODEL, messages=[{"role": "user", "content": QUESTION}])
    check(answer.choices[0].message.content, answer)
    check(answer.choices[0].finish_reason == "stop", answer)
    check(answer.usage and answer.usage.total_tokens > 0, answer)


@case("plain", "AsyncOpenAI")
async def plain_async() -> None:
    async with later as opened:
        answer = await opened.chat.completions.create(model=MODEL, messages=ask())
    check(answer.choices[0].message.content, answer)


@case("plain", "models.list")
def models() -> None:
    check(MODEL in [model.id for model in client.models.list()])
    check(client.models.retrieve(MODEL).id == MODEL)


@case("stream", "chat.completions.create(stream=True)")
def stream() -> None:
    chunks = list(wanted(stream=True, stream_options={"include_usage": True}))
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    check(text == wanted().choices[0].message.content, text)
    check(chunks[-1].usage and chunks[-1].usage.completion_tokens > 0, chunks[-1])


@case("stream", "chat.completions.stream")
def stream_helper() -> None:
    with chat.stream(model=MODEL, messages=ask()) as events:
        kinds = {event.type for event in events}
        final = events.get_final_completion()
    check({"chunk", "content.delta", "content.done"} <= kinds, kinds)
    check(final.choices[0].message.content, final)


@case("image", "image_url part")
def image() -> None:
    answers = [chat.create(model=MODEL, messages=ask(image=each)) for each in (RED, GREEN)]
    texts = {answer.choices[0].message.content for answer in answers}
    check(len(texts) == 2, texts)
    details: Any = answers[0].usage and answers[0].usage.prompt_tokens_details
    check(details.image_tokens > 0, details)


@case("image", 'detail="low"')
def image_detail() -> None:
    url = {"url": data_url(RED), "detail": "low"}
    parts: Any = [{"type": "image_url", "image_url": url}, {"type": "text", "text": QUESTION}]
    check(chat.create(model=MODEL, messages=[{"role": "user", "content": parts}]).choices)


@case("documents", "file part with a PDF")
def document() -> None:
    file = {"filename": "page.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}
    parts: Any = [{"type": "file", "file": file}, {"type": "text", "text": QUESTION}]
    answer = chat.create(model=MODEL, messages=[{"role": "user", "content": parts}])
    check(answer.choices[0].message.content, answer)


@case("structured", "chat.completions.parse")
def parse() -> None:
    answer = chat.parse(model=MODEL, messages=ask(image=RED), response_format=Record)
    check(isinstance(answer.choices[0].message.parsed, Record), answer)


@case("structured", "chat.completions.stream(response_format=...)")
def parse_stream() -> None:
    with chat.stream(model=MODEL, messages=ask(), response_format=Record) as events:
        for _ in events:
            pass
        parsed = events.get_final_completion().choices[0].message.parsed
    check(isinstance(parsed, Record), parsed)


@case("structured", "json_schema")
def json_schema() -> None:
    form = {"type": "json_schema", "json_schema": {"name": "r", "schema": SCHEMA, "strict": True}}
    found = json.loads(wanted(response_format=form).choices[0].message.content)
    check(set(found) == {"category", "count"}, found)


@case("structured", "json_object")
def json_object() -> None:
    answer = wanted(response_format={"type": "json_object"})
    check(isinstance(json.loads(answer.choices[0].message.content), dict), answer)


@case("structured", "extra_body: structured_outputs")
def structured_outputs() -> None:
    for form, allowed in (({"choice": ["yes", "no"]}, {"yes", "no"}), ({"regex": "[ab]"}, {*"ab"})):
        answer = wanted(extra_body={"structured_outputs": form})
        check(answer.choices[0].message.content in allowed, answer)


@case("structured", "extra_body: guided_json")
def guided_json() -> None:
    answer = wanted(extra_body={"guided_json": SCHEMA})
    check(set(json.loads(answer.choices[0].message.content)) == {"category", "count"}, answer)


@case("tools", 'tool_choice="required"')
def tool_required() -> None:
    answer = wanted(tools=[TOOL], tool_choice="required").choices[0]
    check(answer.finish_reason == "tool_calls", answer)
    for call in answer.message.tool_calls:
        Price.model_validate_json(call.function.arguments)


@case("tools", "results sent back")
def tool_loop() -> None:
    messages = ask()
    message = wanted(tools=[TOOL], tool_choice="required").choices[0].message
    messages.append(message)
    messages += [
        {"role": "tool", "tool_call_id": call.id, "content": "25 EUR"}
        for call in message.tool_calls
    ]
    answer = chat.create(model=MODEL, messages=messages, tools=[TOOL])
    check(answer.choices[0].message.content, answer)


@case("tools", 'tool_choice="auto"')
def tool_auto() -> None:
    messages = ask(TOOL_QUESTION)
    message = chat.create(model=MODEL, messages=messages, tools=[TOOL]).choices[0].message
    check([call.function.name for call in message.tool_calls or ()] == ["price"], message)


@case("tools", "streamed")
def tool_stream() -> None:
    with chat.stream(model=MODEL, messages=ask(), tools=[TOOL], tool_choice="required") as events:
        kinds = {event.type for event in events}
        final = events.get_final_completion().choices[0]
    check("tool_calls.function.arguments.done" in kinds, kinds)
    check(final.finish_reason == "tool_calls", final)
    for call in final.message.tool_calls or ():
        Price.model_validate_json(call.function.arguments)


@case("tools", "pydantic_function_tool (strict)")
def tool_strict() -> None:
    answer = chat.parse(
        model=MODEL,
        messages=ask(),
        tools=[openai.pydantic_function_tool(Price)],
        tool_choice={"type": "function", "function": {"name": "Price"}},
    )
    calls = answer.choices[0].message.tool_calls or []
    check(calls and isinstance(calls[0].function.parsed_arguments, Price), answer)


@case("tools", 'tool_choice="none"')
def tool_none() -> None:
    answer = wanted(tools=[TOOL], tool_choice="none")
    check(answer.choices[0].message.content and not answer.choices[0].message.tool_calls, answer)


@case("n", "n=3")
def several() -> None:
    answer = wanted(n=3, temperature=1, seed=1)
    check([choice.index for choice in answer.choices] == [0, 1, 2], answer)
    check(len({choice.message.content for choice in answer.choices}) > 1, answer)


@case("logprobs", "logprobs=True, top_logprobs=3")
def logprobs() -> None:
    choice = wanted(logprobs=True, top_logprobs=3).choices[0]
    tokens = choice.logprobs.content
    data = b"".join(bytes(token.bytes) for token in tokens)
    check(data.decode() == choice.message.content, choice)
    check(all(token.logprob <= 0 and len(token.top_logprobs) == 3 for token in tokens), tokens)


@case("sampling", "frequency_penalty, presence_penalty, logit_bias")
def penalties() -> None:
    answer = wanted(frequency_penalty=0.5, presence_penalty=0.5, logit_bias={"5": -100})
    check(answer.choices[0].message.content, answer)


@case("sampling", "extra_body: top_k, min_p, repetition_penalty")
def more_sampling() -> None:
    fields = {"top_k": 5, "min_p": 0.1, "repetition_penalty": 1.1, "min_tokens": 2}
    check(wanted(temperature=0.7, extra_body=fields).choices[0].message.content)


@case("reasoning", "reasoning_effort")
def reasoning() -> None:
    check(wanted(reasoning_effort="low").choices[0].message.content)


@case("unknown fields", "extra_body: mood")
def unknown() -> None:
    raw = chat.with_raw_response.create(
        model=MODEL, messages=ask(), extra_body={"mood": "calm"}, user="me", store=False
    )
    check(raw.headers["x-silkline-ignored"] == "mood", raw.headers)
    check(raw.parse().choices[0].message.content)


@case("completions", "completions.create")
def completions() -> None:
    answer = client.completions.create(model=MODEL, prompt="A red", max_tokens=5)
    check(answer.choices[0].text, answer)


@case("responses", "responses.create")
def responses() -> None:
    answer = client.responses.create(model=MODEL, input=QUESTION, instructions="Be brief.")
    check(answer.output_text and answer.status == "completed", answer)
    check(answer.usage and answer.usage.total_tokens > 0, answer)


@case("responses", "input_image")
def responses_image() -> None:
    texts = set()
    for each in (RED, GREEN):
        content: Any = [
            {"type": "input_text", "text": QUESTION},
            {"type": "input_image", "image_url": data_url(each)},
        ]
        answer = client.responses.create(model=MODEL, input=[{"role": "user", "content": content}])
        texts.add(answer.output_text)
    check(len(texts) == 2, texts)


@case("responses", "responses.stream")
def responses_stream() -> None:
    with client.responses.stream(model=MODEL, input=QUESTION) as events:
        kinds = [event.type for event in events]
        final = events.get_final_response()
    check(kinds[0] == "response.created" and kinds[-1] == "response.completed", kinds)
    check(final.output_text == client.responses.create(model=MODEL, input=QUESTION).output_text)


@case("responses", "responses.parse")
def responses_parse() -> None:
    answer = client.responses.parse(model=MODEL, input=QUESTION, text_format=Record)
    check(isinstance(answer.output_parsed, Record), answer)


@case("responses", "tools, results sent back")
def responses_tools() -> None:
    tool: Any = {"type": "function", "strict": False, **TOOL["function"]}
    fields: Any = {"model": MODEL, "tools": [tool]}
    answer = client.responses.create(input=QUESTION, tool_choice="required", **fields)
    calls = [item for item in answer.output if item.type == "function_call"]
    for call in calls:
        Price.model_validate_json(call.arguments)
    check(calls, answer)
    history: Any = [{"role": "user", "content": QUESTION}, *answer.output]
    history += [
        {"type": "function_call_output", "call_id": call.call_id, "output": "25 EUR"}
        for call in calls
    ]
    check(client.responses.create(input=history, **fields).output_text)


@case("responses", "store=True, previous_response_id")
def responses_stored() -> None:
    first = client.responses.create(model=MODEL, input=QUESTION, store=True)
    second = client.responses.create(
        model=MODEL, input="And now?", previous_response_id=first.id, store=True
    )
    check(second.output_text and second.previous_response_id == first.id, second)
    alone = client.responses.create(model=MODEL, input="And now?")
    check(alone.output_text != second.output_text, second)
    check(client.responses.retrieve(first.id).output_text == first.output_text)
    client.responses.delete(first.id)


@case("embeddings", "embeddings.create")
def embeddings() -> None:
    client.embeddings.create(model=MODEL, input=QUESTION)


if __name__ == "__main__":
    main("openai")
