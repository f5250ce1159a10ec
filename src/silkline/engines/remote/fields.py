"""The fields of a chat completion's body besides its messages, in the words of OpenAI and vLLM.

A field is only present if it differs from the API's default: many servers refuse fields that they
do not know. JSON texts of the client (schemas, extra fields) are put into the body unchanged.

https://platform.openai.com/docs/api-reference/chat/create
https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
"""

from __future__ import annotations

from typing import Any

import msgspec

from silkline.core import (
    Constraint,
    ConstraintKind,
    PromptOptions,
    Request,
    Sampling,
    Tool,
    ToolCall,
    ToolChoice,
)
from silkline.errors import UNDECODABLE, InvalidRequest

Body = dict[str, Any]

_SCHEMA_NAME = "answer"
"""The name of a schema that has none; OpenAI requires one."""

_STREAM: Body = {"stream": True, "stream_options": {"include_usage": True}}

_THINKING = ("enable_thinking", "thinking")
"""The variables of chat templates that switch the thinking; most templates read one of them."""

_NAMES_UNCHANGED = (
    *("seed", "stop", "top_k", "min_p", "frequency_penalty", "presence_penalty"),
    *("repetition_penalty", "min_tokens", "ignore_eos", "stop_token_ids"),
)
_UNCHANGED = tuple((name, getattr(Sampling(), name)) for name in _NAMES_UNCHANGED)
"""Sampling parameters whose fields have their names and values, with their defaults."""

RESERVED = frozenset(
    {
        *("model", "messages", "max_tokens", "temperature", "top_p", "stream", "stream_options"),
        *(
            *_NAMES_UNCHANGED,
            "logit_bias",
            "include_stop_str_in_output",
            "logprobs",
            "top_logprobs",
        ),
        *("response_format", "structured_outputs"),
        *("tools", "tool_choice", "parallel_tool_calls", "reasoning_effort"),
        *("chat_template_kwargs", "continue_final_message", "add_generation_prompt"),
        *("max_completion_tokens", "max_new_tokens", "max_output_tokens", "n_predict"),
        *("num_predict", "n", "n_cmpl", "best_of", "echo", "prompt"),
        *("prompt_embeds", "prompt_token_ids", "input_ids", "input_embeds"),
    }
)
"""All fields that Silkline may set, and other names of them; extra fields never have these.

Some of them would replace the prompt, or change the number or the text of the answers.
"""


def fields_of(request: Request) -> Body:
    """All fields of a request except `model` and `messages`, in the order in which they are sent.

    Raises:
        InvalidRequest: A schema, a list of choices or the extra fields are not valid JSON.
    """
    sampling = request.sampling
    body = {
        **_extra(sampling.extra),
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        **(_STREAM if request.stream else {}),
        **_sampling(sampling),
        **_constraint(sampling.constraint),
        **_options(request.options),
    }
    if request.options.raw and sampling.logprobs is not None:
        # https://platform.openai.com/docs/api-reference/completions/create
        del body["logprobs"]
        body["logprobs"] = body.pop("top_logprobs", 0)
    return body


def function_call(call: ToolCall) -> Body:
    """A tool call in an assistant's message."""
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


def _extra(text: str) -> Body:
    """The extra fields, unchanged; without those that Silkline sets itself."""
    fields = _decoded(text, dict[str, msgspec.Raw], "extra_fields") if text else {}
    return {name: value for name, value in fields.items() if name not in RESERVED}


def _sampling(sampling: Sampling) -> Body:
    body: Body = {"top_p": sampling.top_p} if sampling.temperature > 0 else {}
    for name, default in _UNCHANGED:
        if (value := getattr(sampling, name)) != default:
            body[name] = value
    if sampling.logit_bias:
        body["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias}
    if sampling.include_stop:
        body["include_stop_str_in_output"] = True
    if sampling.logprobs is not None:
        body["logprobs"] = True
        if sampling.logprobs:
            body["top_logprobs"] = sampling.logprobs
    return body


def _constraint(constraint: Constraint | None) -> Body:
    if constraint is None:
        return {}
    match constraint.kind:
        case ConstraintKind.JSON_OBJECT:
            return {"response_format": {"type": "json_object"}}
        case ConstraintKind.JSON_SCHEMA:
            named: Body = {"name": constraint.name or _SCHEMA_NAME}
            if constraint.description:
                named["description"] = constraint.description
            # Without `strict`, OpenAI treats the schema as a hint.
            named |= {"schema": _schema(constraint.text, "response_format"), "strict": True}
            return {"response_format": {"type": "json_schema", "json_schema": named}}
        case ConstraintKind.CHOICE:
            choices = _decoded(constraint.text, list[str], "structured_outputs")
            if not any(choices):
                raise InvalidRequest(
                    "There is no choice with text. Send at least one.", param="structured_outputs"
                )
            return {"structured_outputs": {"choice": choices}}
        case ConstraintKind.REGEX | ConstraintKind.GRAMMAR:
            return {"structured_outputs": {constraint.kind.value: constraint.text}}


def _options(options: PromptOptions) -> Body:
    body: Body = {}
    if options.tools:
        body["tools"] = [_tool(tool) for tool in options.tools]
        if options.tool:
            body["tool_choice"] = {"type": "function", "function": {"name": options.tool}}
        elif options.tool_choice is not ToolChoice.AUTO:
            body["tool_choice"] = options.tool_choice.value
        if not options.parallel_tools:
            body["parallel_tool_calls"] = False
    if options.effort:
        body["reasoning_effort"] = options.effort
    if options.thinking is not None:
        body["chat_template_kwargs"] = dict.fromkeys(_THINKING, options.thinking)
    if options.continues:
        body |= {"continue_final_message": True, "add_generation_prompt": False}
    return body


def _tool(tool: Tool) -> Body:
    function: Body = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    if tool.parameters:
        function["parameters"] = _schema(tool.parameters, "tools")
    if tool.strict:
        function["strict"] = True
    return {"type": "function", "function": function}


def _schema(text: str, param: str) -> msgspec.Raw:
    """A JSON Schema as it was sent; `true` and `false` are schemas, too."""
    _decoded(text, dict[str, msgspec.Raw] | bool, param)
    return msgspec.Raw(text.encode())


def _decoded(text: str, kind: Any, param: str) -> Any:
    try:
        return msgspec.json.decode(text.encode(), type=kind)
    except UNDECODABLE as error:
        raise InvalidRequest(
            f"The JSON text in {param} is malformed, nested too deeply, or of the wrong type. Send "
            "valid JSON.",
            param=param,
        ) from error
