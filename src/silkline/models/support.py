"""What an engine can do with a model, and what every engine needs of one."""

from __future__ import annotations

import shlex
from enum import StrEnum
from typing import NamedTuple

import msgspec

from silkline.models.adapter import adapter_refusal
from silkline.models.completeness import few
from silkline.models.families import TEXT_ONLY, is_text_only
from silkline.models.resolve import ModelLocation
from silkline.models.token_rules import Documents
from silkline.models.weights import Weights


class Verdict(StrEnum):
    """Whether an engine serves a model."""

    YES = "yes"
    ELSEWHERE = "elsewhere"
    NO = "no"


class Support(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one engine can do with a model.

    Attributes:
        engine: Its name, as `--engine` takes it.
        verdict: `yes` serves with the command in `why`; `elsewhere` once another server runs.
        why: The command, or the reason.
        path: How it runs the model, for engines that have several ways; see `EngineInfo.path`.
    """

    engine: str
    verdict: Verdict
    why: str
    path: str = ""


class ModelFacts(NamedTuple):
    """What the files of a model say, for an engine to judge by.

    Attributes:
        location: Where the model lies.
        files: What its JSON files say.
        weights: What lies in its folder.
    """

    location: ModelLocation
    files: Documents
    weights: Weights


def general_refusal(facts: ModelFacts) -> str | None:
    """Why no engine at all can serve a model; None where one may."""
    location, files, weights = facts
    if location.bundle is not None:
        damaged = location.bundle.damaged_files()
        return f"files of the bundle are missing or damaged: {few(damaged)}" if damaged else None
    if weights.gguf:
        return None
    if is_text_only(files):
        return TEXT_ONLY
    return None if weights.named or weights.is_export else adapter_refusal(location.folder)


def serving_command(engine: str, location: ModelLocation) -> str:
    """The shell command that serves a model with an engine, whatever the model's path."""
    return f"silkline up --engine {engine} --model {shlex.quote(location.model)}"
