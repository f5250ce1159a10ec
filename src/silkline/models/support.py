"""Which engines can serve a model, which cannot, and why."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from silkline.models.resolve import Kind, Place
from silkline.models.weights import Weights

OPENVINO_MODEL_TYPES = frozenset(
    {
        "gemma3",
        "gemma3n",
        "gemma4",
        "internvl_chat",
        "llava",
        "llava-qwen2",
        "llava_next",
        "llava_next_video",
        "minicpmo",
        "minicpmv",
        "phi3_v",
        "phi4mm",
        "qwen2_5_vl",
        "qwen2_vl",
        "qwen3_vl",
    }
)
"""What OpenVINO GenAI's pipeline for vision-language models takes, by `model_type`.

From src/cpp/src/visual_language/vlm_config.cpp of openvino.genai, and held against the names in the
library of 2026.4; it takes InternVL as its authors' code has it, not as transformers has it.
"""


class Verdict(StrEnum):
    """Whether an engine serves a model."""

    YES = "yes"
    ELSEWHERE = "elsewhere"
    NOT_YET = "not yet"
    NO = "no"


class Support(msgspec.Struct, frozen=True):
    """What one engine can do with a model.

    Attributes:
        engine: Its name, as `--engine` takes it.
        verdict: `yes` serves now with the command in `why`; `elsewhere` once another server runs;
            `not yet` could, but this version of Silkline does not bring the model there.
        why: The command, or the reason.
    """

    engine: str
    verdict: Verdict
    why: str


def engine_support(place: Place, model_type: str | None, weights: Weights) -> tuple[Support, ...]:
    """What each of Silkline's engines can do with a model.

    Args:
        place: Where the model lies.
        model_type: As config.json says.
        weights: What lies in its folder.
    """
    return (_openvino(place, model_type, weights), _remote(place, weights))


def _openvino(place: Place, model_type: str | None, weights: Weights) -> Support:
    if place.bundle is not None:
        if "openvino" in place.bundle.manifest.engines:
            return Support("openvino", Verdict.YES, f"silkline up --model {place.model}")
        return Support("openvino", Verdict.NO, "the bundle has no weights for it")
    if model_type not in OPENVINO_MODEL_TYPES:
        return Support(
            "openvino",
            Verdict.NO,
            f"OpenVINO GenAI's pipeline knows no model_type {model_type}; use the engine remote",
        )
    if weights.openvino:
        why = "OpenVINO IR is there, but no bundle.json; `silkline up` serves bundles only"
        return Support("openvino", Verdict.NOT_YET, why)
    if weights.refused and not weights.files:
        return Support("openvino", Verdict.NO, _pickled(weights))
    why = (
        f"OpenVINO GenAI knows {model_type}, but this version exports no model; `silkline up` "
        "serves bundles only"
    )
    return Support("openvino", Verdict.NOT_YET, why)


def _remote(place: Place, weights: Weights) -> Support:
    if weights.refused and not weights.files:
        return Support("remote", Verdict.NO, _pickled(weights))
    if not weights.files and place.kind is not Kind.HUB:
        why = "there are no safetensors that another server could load"
        return Support("remote", Verdict.NO, why)
    why = (
        "where another server can load it, such as vLLM: silkline up --engine remote "
        "--remotes http://HOST:PORT"
    )
    return Support("remote", Verdict.ELSEWHERE, why)


def _pickled(weights: Weights) -> str:
    return (
        f"its weights are pickled ({weights.refused[0]}), which is not accepted: they can run code "
        "when read; get safetensors"
    )
