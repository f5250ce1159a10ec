"""Chooses vLLM's parsers of tool calls and reasoning by the model's chat template.

Without a parser, vLLM refuses tools, and leaves reasoning in the text of the answer.

https://docs.vllm.ai/en/latest/features/tool_calling.html
https://docs.vllm.ai/en/latest/features/reasoning_outputs.html
"""

from __future__ import annotations

from collections.abc import Sequence

TOOL_FLAG = "--tool-call-parser"
REASONING_FLAG = "--reasoning-parser"

_TOOL_PARSERS = (
    ("<arg_key>", "glm45"),
    ("<function=", "qwen3_coder"),
    ("<tool_call>", "hermes"),
    ("[TOOL_CALLS]", "mistral"),
    ("<|python_start|>", "llama4_pythonic"),
    ("<|python_tag|>", "llama3_json"),
)
"""What a template writes around calls, and the parser; the first that matches counts."""

_THINKS = ("enable_thinking", "assistant\\n<think>", "assistant\n<think>")
"""What the template of a model has that may think; others only cut thoughts out of the history."""


def parser_flags(template: str | None, flags: Sequence[str]) -> list[str]:
    """The flags for the parsers that a template calls for; empty if the user chose them.

    Args:
        template: The model's chat template; None if it has none.
        flags: The user's own flags.
    """
    words = []
    tools = _tool_parser(template or "")
    if tools and not is_chosen(TOOL_FLAG, flags):
        words += ["--enable-auto-tool-choice", TOOL_FLAG, tools]
    reasoning = _reasoning_parser(template or "")
    if reasoning and not is_chosen(REASONING_FLAG, flags):
        words += [REASONING_FLAG, reasoning]
    return words


def is_chosen(flag: str, flags: Sequence[str]) -> bool:
    """Whether a flag is among others, with its value in the same word or the next."""
    return any(word.partition("=")[0].replace("_", "-") == flag for word in flags)


def _tool_parser(template: str) -> str | None:
    if "tools" not in template:
        return None
    return next((parser for mark, parser in _TOOL_PARSERS if mark in template), None)


def _reasoning_parser(template: str) -> str | None:
    if "[THINK]" in template:
        return "mistral"
    if not any(mark in template for mark in _THINKS):
        return None
    if "[gMASK]" in template:
        return "glm45"
    return "qwen3" if "<think>" in template else None
