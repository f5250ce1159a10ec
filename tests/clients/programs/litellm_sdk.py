"""LiteLLM with its `openai/`, `hosted_vllm/` and `anthropic/` providers."""

from __future__ import annotations

import json
from typing import Any

import litellm
from cases import GREEN, KEY, MODEL, QUESTION, RED, URL, V1, case, check, data_url, main
from pydantic import BaseModel

litellm.telemetry = False
litellm.suppress_debug_info = True
litellm.num_retries = 0


class Record(BaseModel):
    """A product's record."""

    category: str
    count: int


TOOL: Any = {
    "type": "function",
    "function": {
        "name": "price",
        "description": "Looks up the price of a product.",
        "parameters": {
            "type": "object",
            "properties": {"product": {"type": "string"}},
            "required": ["product"],
        },
    },
}


def ask(image: bytes | None = None) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = [{"type": "text", "text": QUESTION}]
    if image:
        parts.insert(0, {"type": "image_url", "image_url": {"url": data_url(image)}})
    return [{"role": "user", "content": parts}]


def wanted(provider: str = "openai", messages: Any = None, **fields: Any) -> Any:
    return litellm.completion(
        model=f"{provider}/{MODEL}",
        api_base=URL if provider == "anthropic" else V1,
        api_key=KEY,
        messages=messages or ask(),
        **fields,
    )


def loop(provider: str) -> None:
    first = wanted(provider, tools=[TOOL], tool_choice="required").choices[0].message
    check(first.tool_calls, first)
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": "25 EUR"} for call in first.tool_calls
    ]
    answer = wanted(provider, [*ask(), first.model_dump(), *results], tools=[TOOL])
    check(answer.choices[0].message.content, answer)


def differ(provider: str) -> None:
    answers = [wanted(provider, ask(image)) for image in (RED, GREEN)]
    texts = {answer.choices[0].message.content for answer in answers}
    check(len(texts) == 2 and None not in texts, texts)


@case("plain", "completion")
def plain() -> None:
    answer = wanted()
    check(answer.choices[0].message.content and answer.usage.total_tokens > 0, answer)


@case("plain", "acompletion")
async def plain_async() -> None:
    answer = await litellm.acompletion(
        model=f"openai/{MODEL}", api_base=V1, api_key=KEY, messages=ask()
    )
    check(answer.choices[0].message.content, answer)


@case("plain", "hosted_vllm/")
def hosted() -> None:
    check(wanted("hosted_vllm").choices[0].message.content)


@case("stream", "completion(stream=True)")
def stream() -> None:
    parts = wanted(stream=True, stream_options={"include_usage": True})
    text = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
    check(text == wanted().choices[0].message.content, text)


@case("image", "image_url part")
def image() -> None:
    differ("openai")


@case("structured", "response_format=Model")
def structured() -> None:
    Record.model_validate_json(wanted(response_format=Record).choices[0].message.content)


@case("structured", "json_object")
def json_object() -> None:
    answer = wanted(response_format={"type": "json_object"})
    check(isinstance(json.loads(answer.choices[0].message.content), dict), answer)


@case("tools", "results sent back")
def tools() -> None:
    loop("openai")


@case("tools", "streamed")
def tools_streamed() -> None:
    chunks = list(wanted(tools=[TOOL], tool_choice="required", stream=True))
    built = litellm.stream_chunk_builder(chunks).choices[0]
    check(json.loads(built.message.tool_calls[0].function.arguments).keys() == {"product"}, built)


@case("n", "n=2")
def several() -> None:
    check(len(wanted(n=2, temperature=1).choices) == 2)


@case("logprobs", "logprobs=True")
def logprobs() -> None:
    check(wanted(logprobs=True, top_logprobs=2).choices[0].logprobs.content)


@case("sampling", "penalties, top_k, min_p")
def sampling() -> None:
    fields = {"frequency_penalty": 0.5, "temperature": 0.7, "top_k": 5, "min_p": 0.1}
    check(wanted("hosted_vllm", **fields).choices[0].message.content)


@case("reasoning", "reasoning_effort")
def reasoning() -> None:
    answer = wanted("hosted_vllm", reasoning_effort="low")
    check(answer.choices[0].message.content, answer)


@case("completions", "text_completion")
def completions() -> None:
    answer = litellm.text_completion(
        model=f"text-completion-openai/{MODEL}", api_base=V1, api_key=KEY, prompt="A red",
        max_tokens=5,
    )  # fmt: skip
    check(answer.choices[0].text, answer)


@case("responses", "responses")
def responses() -> None:
    answer = litellm.responses(model=f"openai/{MODEL}", api_base=V1, api_key=KEY, input=QUESTION)
    check(answer.output[0].content[0].text, answer)


@case("responses", "responses(stream=True)")
def responses_stream() -> None:
    events = litellm.responses(
        model=f"openai/{MODEL}", api_base=V1, api_key=KEY, input=QUESTION, stream=True
    )
    kinds = [str(getattr(event.type, "value", event.type)) for event in events]
    check(kinds[-1] == "response.completed", kinds)


@case("messages", "anthropic/")
def messages() -> None:
    check(wanted("anthropic").choices[0].message.content)


@case("messages", "anthropic/, image")
def messages_image() -> None:
    differ("anthropic")


@case("messages", "anthropic/, tools")
def messages_tools() -> None:
    loop("anthropic")


if __name__ == "__main__":
    main("litellm")
