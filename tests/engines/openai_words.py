"""What OpenAI-compatible servers read in a request's body, and how they put an answer.

A dialect is `vllm`, `sglang` or `llama`. A server ignores the fields that it does not know.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

from silkline.core import (
    Constraint,
    ConstraintKind,
    Delta,
    Image,
    ImagePart,
    Message,
    Part,
    PromptOptions,
    Request,
    Role,
    Sampling,
    TextPart,
    TokenLogprob,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolChoice,
    Usage,
)

KNOWN = frozenset(
    {
        *("model", "messages", "max_tokens", "temperature", "top_p", "seed", "stop", "stream"),
        *("stream_options", "top_k", "min_p", "frequency_penalty", "presence_penalty"),
        *("repetition_penalty", "logit_bias", "min_tokens", "ignore_eos", "stop_token_ids"),
        *("include_stop_str_in_output", "logprobs", "top_logprobs", "response_format"),
        *("structured_outputs", "tools", "tool_choice", "parallel_tool_calls"),
        *("reasoning_effort", "chat_template_kwargs", "continue_final_message"),
        *("add_generation_prompt",),
    }
)
"""The fields that vLLM knows; others are taken for extra fields."""

_UNKNOWN_TO_LLAMA = (
    *("repetition_penalty", "min_tokens", "stop_token_ids", "include_stop_str_in_output"),
    *("structured_outputs", "reasoning_effort"),
)


def as_json(value: object) -> str:
    """A JSON text without white space, as the gateway writes schemas."""
    return json.dumps(value, separators=(",", ":"))


def request_of(body: dict[str, Any], dialect: str) -> Request:
    """What a body asks a server of a dialect for."""
    readers: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
        "vllm": dict,
        "sglang": _from_sglang,
        "llama": _from_llama,
    }
    common = readers[dialect](body)
    images: list[Image] = []
    messages = tuple(_message(message, images) for message in body["messages"])
    return Request("far", messages, tuple(images), sampling_of(common), options=options_of(common))


def _from_sglang(body: dict[str, Any]) -> dict[str, Any]:
    known = {name: value for name, value in body.items() if name != "structured_outputs"}
    for theirs, kind in (("regex", "regex"), ("ebnf", "grammar")):
        if theirs in known:
            known["structured_outputs"] = {kind: known.pop(theirs)}
    known["include_stop_str_in_output"] = known.pop("no_stop_trim", False)
    return known


def _from_llama(body: dict[str, Any]) -> dict[str, Any]:
    known = {name: value for name, value in body.items() if name not in _UNKNOWN_TO_LLAMA}
    assert not ("tools" in body and "logprobs" in body), "refused where it streams"
    assert known.pop("repeat_last_n", 0) in {0, 8192}
    known["repetition_penalty"] = known.pop("repeat_penalty", 1.0)
    if probs := known.pop("n_probs", 0):
        known |= {"logprobs": True, "top_logprobs": probs}
    if "grammar" in known:
        known["structured_outputs"] = {"grammar": known.pop("grammar")}
    known["reasoning_effort"] = known.get("chat_template_kwargs", {}).get("reasoning_effort", "")
    assert not isinstance(known.get("tool_choice"), dict), "it would be taken for auto"
    return known


def sampling_of(body: dict[str, Any]) -> Sampling:
    """How a body wants tokens to be chosen, as vLLM reads it."""
    biases = tuple((int(token), bias) for token, bias in body.get("logit_bias", {}).items())
    extra = {name: value for name, value in body.items() if name not in KNOWN}
    return Sampling(
        max_tokens=body["max_tokens"],
        temperature=body["temperature"],
        top_p=body.get("top_p", 1.0),
        seed=body.get("seed"),
        stop=tuple(body.get("stop", ())),
        top_k=body.get("top_k", 0),
        min_p=body.get("min_p", 0.0),
        frequency_penalty=body.get("frequency_penalty", 0.0),
        presence_penalty=body.get("presence_penalty", 0.0),
        repetition_penalty=body.get("repetition_penalty", 1.0),
        logit_bias=biases,
        min_tokens=body.get("min_tokens", 0),
        ignore_eos=body.get("ignore_eos", False),
        stop_token_ids=tuple(body.get("stop_token_ids", ())),
        include_stop=body.get("include_stop_str_in_output", False),
        logprobs=body.get("top_logprobs", 0) if body.get("logprobs") else None,
        constraint=_constraint(body),
        extra=as_json(extra) if extra else "",
    )


def options_of(body: dict[str, Any]) -> PromptOptions:
    """How a body wants the prompt to be written, as vLLM reads it."""
    functions = [tool["function"] for tool in body.get("tools", ())]
    tools = tuple(
        Tool(each["name"], each.get("description", ""),
             as_json(each["parameters"]) if "parameters" in each else "",
             each.get("strict", False))
        for each in functions
    )  # fmt: skip
    choice = body.get("tool_choice", "auto")
    named = choice["function"]["name"] if isinstance(choice, dict) else ""
    assert body.get("add_generation_prompt", True) is not body.get("continue_final_message", False)
    return PromptOptions(
        tools,
        ToolChoice.REQUIRED if named else ToolChoice(choice),
        named,
        body.get("parallel_tool_calls", True),
        body.get("chat_template_kwargs", {}).get("enable_thinking"),
        body.get("reasoning_effort", ""),
        body.get("continue_final_message", False),
    )


def _constraint(body: dict[str, Any]) -> Constraint | None:
    match body.get("response_format"):
        case {"type": "json_object"}:
            return Constraint(ConstraintKind.JSON_OBJECT)
        case {"json_schema": named}:
            text, about = as_json(named["schema"]), named.get("description", "")
            return Constraint(ConstraintKind.JSON_SCHEMA, text, named["name"], about)
    for kind, value in body.get("structured_outputs", {}).items():
        text = as_json(value) if kind == "choice" else value
        return Constraint(ConstraintKind(kind), text)
    return None


def _message(message: dict[str, Any], images: list[Image]) -> Message:
    calls = tuple(
        ToolCall(call["id"], call["function"]["name"], call["function"]["arguments"])
        for call in message.get("tool_calls", ())
    )
    return Message(
        Role(message["role"]),
        tuple(_parts(message["content"], images)),
        calls,
        message.get("tool_call_id", ""),
        message.get("reasoning_content", ""),
    )


def _parts(content: str | list[dict[str, Any]] | None, images: list[Image]) -> list[Part]:
    if not isinstance(content, list):
        return [TextPart(content or "")]
    parts: list[Part] = []
    for part in content:
        if part["type"] == "text":
            parts.append(TextPart(part["text"]))
        else:
            url = part["image_url"]["url"].encode()
            parts.append(ImagePart(len(images)))
            images.append(Image(1, 1, b"rgb", hashlib.sha256(url).hexdigest()))
    return parts


def content_of(delta: Delta, dialect: str) -> dict[str, Any]:
    """The `delta` of a chunk, without a finish reason."""
    content: dict[str, Any] = {"content": delta.text} if delta.text or delta.logprobs else {}
    if delta.reasoning:
        content["reasoning" if dialect == "vllm" else "reasoning_content"] = delta.reasoning
    if delta.tool_calls:
        content["tool_calls"] = [_call(call) for call in delta.tool_calls]
    return content


def _call(call: ToolCallDelta) -> dict[str, Any]:
    function: dict[str, Any] = {"arguments": call.arguments}
    if not call.name:
        return {"index": call.index, "function": function}
    function["name"] = call.name
    return {"index": call.index, "id": call.id, "type": "function", "function": function}


def logprobs_of(tokens: tuple[TokenLogprob, ...]) -> dict[str, Any] | None:
    """The `logprobs` of a chunk."""
    content = [{**_token(each), "top_logprobs": list(map(_token, each.top))} for each in tokens]
    return {"content": content} if content else None


def _token(token: TokenLogprob) -> dict[str, Any]:
    return {"token": token.token, "logprob": token.logprob, "bytes": list(token.data)}


def usage_of(usage: Usage) -> dict[str, Any]:
    """The usage, with the details that vLLM reports."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": None,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }
