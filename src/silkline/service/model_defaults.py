"""Sampling parameters of a model for requests that do not name them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from silkline.core import EngineInfo, Feature
from silkline.service.question import Question

_EVERYWHERE = frozenset({"temperature", "top_p"})
"""Parameters that every engine supports."""


def with_model_defaults(question: Question, info: EngineInfo) -> Question:
    """Returns the question with the model's defaults for all that its request does not name.

    Defaults that the engine does not support are left out.
    """
    found: dict[str, Any] = {
        name: int(value) if name == "top_k" else value
        for name, value in info.sampling_defaults
        if name in question.unset and (name in _EVERYWHERE or Feature(name) in info.features)
    }
    if not found:
        return question
    return replace(question, sampling=replace(question.sampling, **found), unset=frozenset())
