"""How the fake engine uses tools, thinks, and continues a message.

It writes its answers as a model with Hermes' format does: reasoning between `<think>` and
`</think>`, and calls between `<tool_call>` and `</tool_call>`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from silkline.core import Feature, Message, Request, Role, TextPart, Tool, ToolChoice
from silkline.engines.chat.calls import CallFormat
from silkline.engines.chat.parts import AnswerForm
from silkline.engines.chat.turns import usable_tools

FEATURES = frozenset(
    {Feature.TOOLS, Feature.STRICT_TOOLS, Feature.THINKING, Feature.EFFORT, Feature.PREFILL}
)
"""The features that this module implements."""

_THOUGHTS = {"minimal": 2, "low": 4, "": 6, "medium": 8, "high": 16, "xhigh": 24, "max": 32}
"""Number of words of the reasoning, by effort."""

_TAGS = ("<think>", "</think>")


def form_of(request: Request) -> AnswerForm:
    """Returns what may be in the answer to a request."""
    options = request.options
    return AnswerForm(
        CallFormat.TAGGED if usable_tools(request.options) else None,
        usable_tools(request.options),
        options.parallel_tools,
        _TAGS if _thinks(request) else None,
    )


def planned(request: Request, write: Callable[[Request], str], arguments: Mapping[str, str]) -> str:
    """Returns the whole answer as a model generates it.

    Args:
        request: The request.
        write: Answers a request in text.
        arguments: The arguments of the tools that `called_tools` names; if there are any, the
            answer calls these tools instead.
    """
    thought = " ".join(f"thought{n}" for n in range(_THOUGHTS[request.options.effort]))
    reasoning = f"<think>\n{thought}\n</think>\n\n" if _thinks(request) else ""
    if arguments:
        return reasoning + "\n".join(_call(*each) for each in arguments.items())
    if not request.options.continues:
        return reasoning + write(request)
    *before, last = request.messages
    asked = replace(request, messages=tuple(before) or request.messages)
    return reasoning + write(asked).removeprefix(text_of(last))


def prompt_of(request: Request) -> str:
    """Returns all text of the prompt."""
    tools = (
        f"{tool.name} {tool.description} {tool.parameters}"
        for tool in usable_tools(request.options)
    )
    return "\n".join([*tools, *map(_turn, request.messages)])


def text_of(message: Message) -> str:
    """Returns the text of a message."""
    return "".join(part.text for part in message.parts if isinstance(part, TextPart))


def _turn(message: Message) -> str:
    calls = [f"{call.name} {call.arguments}" for call in message.tool_calls]
    texts = [part.text for part in message.parts if isinstance(part, TextPart)]
    return "\n".join([*([message.reasoning] if message.reasoning else []), *texts, *calls])


def _thinks(request: Request) -> bool:
    options = request.options
    return bool(options.thinking or options.effort)


def called_tools(request: Request) -> list[Tool]:
    """Returns the tools that the model calls.

    These are the tools that the last message names, if that is the user's, and otherwise the first
    one if it must call a tool.
    """
    usable, last = usable_tools(request.options), request.messages[-1]
    words = set(re.findall(r"[A-Za-z0-9_.-]+", text_of(last))) if last.role is Role.USER else set()
    named = [tool for tool in usable if tool.name in {word.strip(".") for word in words}]
    if request.options.tool_choice is ToolChoice.REQUIRED:
        return named or list(usable[:1])
    return named


def _call(name: str, arguments: str) -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'
