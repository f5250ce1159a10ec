"""Breaks up special tokens in all that a client's request puts into a prompt.

Texts inside JSON are decoded first, since a chat template decodes their escapes, too. The names of
tools cannot spell a special token.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from silkline.core import Message, Request, Role, TextPart, Tool, ToolCall
from silkline.engines.prompt_text import SafeText
from silkline.errors import InvalidRequest

_BYTE_ORDER_MARK = "\ufeff"


def safe_request(request: Request, safe: SafeText) -> Request:
    """The request without special tokens in its messages and tools."""
    options = request.options
    tools = tuple(_tool(tool, safe) for tool in options.tools)
    return replace(
        request,
        messages=tuple(_message(message, safe) for message in request.messages),
        options=replace(options, tools=tools),
    )


def _message(message: Message, safe: SafeText) -> Message:
    parts = tuple(TextPart(part) if isinstance(part, str) else part for part in safe.parts(message))
    return replace(
        message,
        parts=parts,
        tool_calls=tuple(_call(call, safe) for call in message.tool_calls),
        tool_call_id=_text(message.tool_call_id, safe),
        reasoning=_text(message.reasoning, safe),
    )


def _call(call: ToolCall, safe: SafeText) -> ToolCall:
    return replace(call, id=_text(call.id, safe), arguments=_json(call.arguments, safe))


def _tool(tool: Tool, safe: SafeText) -> Tool:
    description = _text(tool.description, safe)
    return replace(tool, description=description, parameters=_json(tool.parameters, safe))


def _text(text: str, safe: SafeText) -> str:
    message = Message(Role.USER, (TextPart(text),))
    return "".join(part for part in safe.parts(message) if isinstance(part, str))


def _json(text: str, safe: SafeText) -> str:
    """A JSON text with safe texts; unchanged if all are. Other text is treated as text."""
    try:
        # Lenient, as servers are: NaN and half of a surrogate pair are accepted.
        value = json.loads(text.removeprefix(_BYTE_ORDER_MARK))
        broken = _value(value, safe)
    except ValueError:
        return _text(text, safe)
    except RecursionError as error:
        raise InvalidRequest(
            "The parameters or arguments of a tool are nested too deeply. Send flatter ones.",
            param="tools",
        ) from error
    return text if broken == value else json.dumps(broken, ensure_ascii=False)


def _value(value: Any, safe: SafeText) -> Any:
    match value:
        case str():
            return _text(value, safe)
        case list():
            return [_value(item, safe) for item in value]
        case dict():
            return {_text(name, safe): _value(item, safe) for name, item in value.items()}
    return value
