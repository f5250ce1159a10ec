"""Which optional features a question needs, and whether the chosen engine has them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from silkline.core import EngineInfo, Feature, PromptOptions, Sampling, ToolChoice
from silkline.errors import InvalidRequest
from silkline.service.question import Question

_BASIC = frozenset({"max_tokens", "temperature", "top_p", "seed", "stop"})
"""Sampling parameters that every engine supports."""

_OPTIONAL = tuple((item.name, item.default) for item in fields(Sampling) if item.name not in _BASIC)
"""All other sampling parameters, with the values that need no feature."""

_NAMES = {"include_stop": Feature.INCLUDE_STOP, "extra": Feature.EXTRA}
"""The features whose name is not that of their sampling parameter."""

_PARAMS = {
    Feature.STRICT_TOOLS: "tools",
    Feature.THINKING: "chat_template_kwargs",
    Feature.PREFILL: "messages",
    Feature.RAW: "prompt",
    Feature.JSON_OBJECT: "response_format",
    Feature.JSON_SCHEMA: "response_format",
    Feature.REGEX: "structured_outputs",
    Feature.CHOICE: "structured_outputs",
    Feature.GRAMMAR: "structured_outputs",
}
"""The request fields of features that have another name."""


def check_features(question: Question, info: EngineInfo) -> None:
    """Checks that the engine supports all that the question needs.

    Raises:
        InvalidRequest: It does not; `param` names the field.
    """
    needed = [*_of_sampling(question.sampling), *_of_options(question.options)]
    if question.sampling.max_tokens == 0:
        needed.append(Feature.TOKENIZE)
    missing = next((feature for feature in needed if feature not in info.features), None)
    if missing is not None:
        raise InvalidRequest(
            f"The model {info.model}, served by the engine {info.engine}, does not support "
            f"{missing}. Leave it out; /v1/models lists what each model supports.",
            param=_PARAMS.get(missing, missing.value),
        )


def _of_sampling(sampling: Sampling) -> Iterator[Feature]:
    for name, default in _OPTIONAL:
        if getattr(sampling, name) == default:
            continue
        if name == "constraint":
            if sampling.constraint is not None:
                yield Feature(sampling.constraint.kind.value)
        elif name == "logprobs":
            yield Feature.TOP_LOGPROBS if sampling.logprobs else Feature.LOGPROBS
        else:
            yield _NAMES.get(name) or Feature(name)


def _of_options(options: PromptOptions) -> Iterator[Feature]:
    if options.tools and options.tool_choice is not ToolChoice.NONE:
        yield Feature.TOOLS
        if any(tool.strict for tool in options.tools):
            yield Feature.STRICT_TOOLS
    if options.thinking:
        yield Feature.THINKING
    if options.effort:
        yield Feature.EFFORT
    if options.continues:
        yield Feature.PREFILL
    if options.raw:
        yield Feature.RAW
