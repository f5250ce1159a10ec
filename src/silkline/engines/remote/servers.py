"""Servers whose fields differ from those of OpenAI and vLLM: llama.cpp and SGLang.

A server is recognised by the `owned_by` of its model list.

https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md
https://docs.sglang.ai/advanced_features/structured_outputs.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum

from silkline.core import Feature
from silkline.engines.remote.fields import Body


class ServerKind(StrEnum):
    """A kind of server; the values are those of `owned_by`."""

    COMMON = ""
    LLAMACPP = "llamacpp"
    SGLANG = "sglang"
    VLLM = "vllm"

    @classmethod
    def of(cls, owner: object) -> ServerKind:
        """The kind of a server, from the owner of its models."""
        return next((kind for kind in cls if kind == owner), cls.COMMON)


_CHAT = frozenset(Feature) - {Feature.RAW, Feature.TOKENIZE}
"""What can be asked for in a chat completion."""

FEATURES: Mapping[ServerKind, frozenset[Feature]] = {
    ServerKind.COMMON: _CHAT,
    ServerKind.LLAMACPP: _CHAT
    - {Feature.MIN_TOKENS, Feature.STOP_TOKEN_IDS, Feature.INCLUDE_STOP, Feature.REGEX},
    ServerKind.SGLANG: _CHAT | {Feature.RAW},
    ServerKind.VLLM: _CHAT | {Feature.RAW},
}
"""What each kind of server supports."""

ASKED_AS: Mapping[str, str] = {
    **dict.fromkeys(("guided_regex", "guided_choice", "guided_grammar"), "structured_outputs"),
    **dict.fromkeys(("grammar", "regex", "ebnf"), "structured_outputs"),
    **dict.fromkeys(("repeat_penalty", "repeat_last_n"), "repetition_penalty"),
    "no_stop_trim": "include_stop_str_in_output",
    "n_probs": "logprobs",
    "add_generation_prompt": "continue_final_message",
}
"""Fields of servers, and the field by which a client asks for the same."""

_REGEX_SPECIAL = re.compile(r"[\\^$.|?*+()\[\]{}/-]")
_PENALTIES = frozenset({"repetition_penalty", "frequency_penalty", "presence_penalty"})


def in_words_of(server: ServerKind, fields: Body, context_length: int) -> Body:
    """The fields of a body in the words of a server.

    Args:
        server: The kind of server.
        fields: The fields in the words of OpenAI and vLLM.
        context_length: Maximum tokens of the server's prompt and answer together.
    """
    match server:
        case ServerKind.LLAMACPP:
            return _llamacpp(dict(fields), context_length)
        case ServerKind.SGLANG:
            return _sglang(dict(fields))
        case ServerKind.COMMON | ServerKind.VLLM:
            return fields


def _llamacpp(fields: Body, context_length: int) -> Body:
    if not _PENALTIES.isdisjoint(fields):
        fields["repeat_last_n"] = context_length  # the default is the last 64 tokens
    if "repetition_penalty" in fields:
        fields["repeat_penalty"] = fields.pop("repetition_penalty")
    if fields.pop("logprobs", None):
        # It refuses `logprobs` for streams with tools, and takes `top_logprobs` of 0 for none.
        fields["n_probs"] = max(1, fields.pop("top_logprobs", 0))
    match fields.get("structured_outputs"):
        case {"grammar": grammar}:
            fields["grammar"] = grammar
            del fields["structured_outputs"]
        case {"choice": choices}:
            fields["grammar"] = f"root ::= {' | '.join(map(_gbnf_literal, choices))}"
            del fields["structured_outputs"]
    match fields.get("tool_choice"):
        case {"function": {"name": name}}:
            tools = fields["tools"]
            fields["tools"] = [tool for tool in tools if tool["function"]["name"] == name]
            fields["tool_choice"] = "required"
    if "tools" in fields:
        fields.setdefault("parallel_tool_calls", True)
    if (effort := fields.pop("reasoning_effort", None)) is not None:
        kwargs = fields.get("chat_template_kwargs", {})
        fields["chat_template_kwargs"] = {**kwargs, "reasoning_effort": effort}
    return fields


def _sglang(fields: Body) -> Body:
    match fields.pop("structured_outputs", None):
        case {"regex": regex}:
            fields["regex"] = regex
        case {"grammar": grammar}:
            fields["ebnf"] = grammar
        case {"choice": choices}:
            fields["regex"] = _regex_of(choices)
    if fields.pop("include_stop_str_in_output", None):
        fields["no_stop_trim"] = True
    return fields


def _regex_of(choices: Sequence[str]) -> str:
    return "|".join(f"({_REGEX_SPECIAL.sub(_backslashed, choice)})" for choice in choices)


def _backslashed(match: re.Match[str]) -> str:
    return "\\" + match[0]


def _gbnf_literal(text: str) -> str:
    return f'"{"".join(map(_gbnf_character, text))}"'


def _gbnf_character(character: str) -> str:
    if character in {'"', "\\"}:
        return "\\" + character
    return character if character >= " " else f"\\x{ord(character):02x}"
