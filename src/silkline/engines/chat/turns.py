"""Converts messages and tools to what chat templates expect."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from silkline.core import ImagePart, Message, PromptOptions, Role, Tool, ToolCall, ToolChoice
from silkline.engines.prompt_text import SafeText
from silkline.errors import InvalidRequest

Content = Callable[[Message], Any]
"""Makes the content of a message, as a text or as a list of parts."""

_NO_PARAMETERS = '{"type": "object", "properties": {}}'
_MAX_DEPTH = 64
_SHORT_ID = re.compile(r"[A-Za-z0-9]{9}")


def arguments_schema(tool: Tool) -> str:
    """Returns the JSON Schema of a tool's arguments, which are an object in any case."""
    schema: dict[str, Any] = msgspec.json.decode(tool.parameters or _NO_PARAMETERS)
    return msgspec.json.encode({"type": "object", **schema}).decode()


@dataclass(frozen=True, slots=True)
class TurnForm:
    """How a chat template expects tool calls and their results.

    Attributes:
        text_arguments: Whether arguments are JSON text; else they are an object.
        short_ids: Whether ids of calls must be nine letters or digits.
        text_results: Whether the content of a `tool` message is a text, whatever other messages
            have.
    """

    text_arguments: bool = False
    short_ids: bool = False
    text_results: bool = False


PLAIN_TURNS = TurnForm()
"""The form that most templates expect."""


def turns(
    messages: Sequence[Message], safe: SafeText, content: Content, form: TurnForm
) -> list[dict[str, Any]]:
    """Converts messages; no text from a client spells a special token.

    Args:
        messages: The conversation.
        safe: Breaks up special tokens.
        content: Makes the content of a message.
        form: How the template expects calls.

    Raises:
        InvalidRequest: The arguments of a call are not a JSON object, or are nested too deeply.
    """
    names: dict[str, str] = {}
    written = []
    for message in messages:
        names.update({call.id: call.name for call in message.tool_calls})
        turn: dict[str, Any] = {"role": message.role.value, "content": content(message)}
        if message.reasoning:
            turn["reasoning_content"] = safe.text(message.reasoning)
        if message.tool_calls:
            turn["tool_calls"] = [_call(call, safe, form) for call in message.tool_calls]
        if message.role is Role.TOOL:
            turn["tool_call_id"] = _id(message.tool_call_id, safe, form)
            turn["name"] = safe.text(names.get(message.tool_call_id, ""))
            if form.text_results:
                turn["content"] = _result(message, safe, content)
        written.append(turn)
    return written


def usable_tools(options: PromptOptions) -> tuple[Tool, ...]:
    """Returns the tools that the model may call."""
    if options.tool_choice is ToolChoice.NONE:
        return ()
    return tuple(tool for tool in options.tools if options.tool in {"", tool.name})


def tool_table(tools: Sequence[Tool], safe: SafeText) -> list[dict[str, Any]]:
    """Converts tools to the form of the OpenAI API.

    Raises:
        InvalidRequest: The parameters of a tool are not a JSON object, or are nested too deeply.
    """
    table = []
    for tool in tools:
        function: dict[str, Any] = {"name": safe.text(tool.name)}
        if tool.description:
            function["description"] = safe.text(tool.description)
        function["parameters"] = _object(
            tool.parameters or _NO_PARAMETERS, f"the parameters of the tool {tool.name}", safe
        )
        table.append({"type": "function", "function": function})
    return table


def variables(options: PromptOptions) -> Mapping[str, Any]:
    """Returns the variables of the template for the reasoning, where the client chose."""
    found: dict[str, Any] = {}
    if options.thinking is not None:
        # Two names are in use.
        found |= {"enable_thinking": options.thinking, "thinking": options.thinking}
    if options.effort:
        found["reasoning_effort"] = options.effort
    return found


def _call(call: ToolCall, safe: SafeText, form: TurnForm) -> dict[str, Any]:
    arguments = _object(call.arguments or "{}", f"the arguments of a call of {call.name}", safe)
    function = {
        "name": safe.text(call.name),
        "arguments": msgspec.json.encode(arguments).decode() if form.text_arguments else arguments,
    }
    return {"id": _id(call.id, safe, form), "type": "function", "function": function}


def _object(text: str, what: str, safe: SafeText) -> dict[str, Any]:
    """Decodes a JSON object from a client.

    Templates run in engines that recurse into the object, and may fail badly if it is deep.
    """
    param = "tools" if what.startswith("the parameters") else "messages"
    try:
        value = msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidRequest(
            f"The text of {what} is not a JSON object. Send one.", param=param
        ) from error
    if _is_deeper(value, _MAX_DEPTH):
        raise InvalidRequest(
            f"The JSON of {what} is nested more than {_MAX_DEPTH} levels deep. Send a flatter one.",
            param=param,
        )
    made: dict[str, Any] = safe.value(value)
    return made


def _is_deeper(value: Any, depth: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value
    if not isinstance(value, dict | list):
        return False
    return depth == 0 or any(_is_deeper(item, depth - 1) for item in inner)


def _id(call_id: str, safe: SafeText, form: TurnForm) -> str:
    if not form.short_ids:
        return safe.text(call_id)
    if _SHORT_ID.fullmatch(call_id):
        return call_id
    digest = hashlib.blake2b(call_id.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:9]


def _result(message: Message, safe: SafeText, content: Content) -> Any:
    parts = list(safe.parts(message))
    if any(isinstance(part, ImagePart) for part in parts):
        return content(message)
    return "".join(str(part) for part in parts)
