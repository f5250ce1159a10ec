"""Whether the OpenVINO engine can serve a model, as it is or exported."""

from __future__ import annotations

import shlex
from pathlib import Path

from silkline.models.completeness import model_lacks
from silkline.models.documents import Document
from silkline.models.families import find_family
from silkline.models.openvino_ir import ir_lacks
from silkline.models.printable import printable
from silkline.models.support import ModelFacts, Support, Verdict, serving_command
from silkline.models.token_rules import Documents
from silkline.models.weights import Weights

NAME = "openvino"

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
        "qwen3_5",
        "qwen3_5_moe",
        "qwen3_vl",
    }
)
"""What OpenVINO GenAI's pipeline for vision-language models takes, by `model_type`.

From src/cpp/src/visual_language/vlm_config.cpp of openvino.genai, and held against the names in the
library of 2026.4; it takes InternVL as its authors' code has it, not as transformers has it.
"""

EXPORTED_MODEL_TYPES = {
    model_type: group
    for group, model_types in {
        "transformers-4.57": "gemma3 llava llava_next qwen2_5_vl qwen2_vl qwen3_vl",
        "transformers-5.2": "qwen3_5",
        "transformers-5.5": "gemma4",
    }.items()
    for model_type in model_types.split()
}
"""Of these, what optimum-intel exports from transformers' own classes, and the group whose
environment does it (see `export.environment`); the others need the code that comes with a model."""


def openvino_support(facts: ModelFacts) -> Support:
    """Whether the engine serves a model, as it is or exported once."""
    location, files, weights = facts
    if location.bundle is not None:
        if NAME in location.bundle.manifest.engines:
            return Support(NAME, Verdict.YES, f"silkline up --model {shlex.quote(location.model)}")
        return Support(NAME, Verdict.NO, "the bundle has no weights for it")
    refusal = _no_ir(location.folder, files, weights)
    if refusal is not None:
        return Support(NAME, Verdict.NO, refusal)
    command = serving_command(NAME, location)
    if weights.is_export:
        return Support(NAME, Verdict.YES, command)
    return Support(NAME, Verdict.YES, f"{command} (exports it once)")


def _no_ir(folder: Path, files: Documents, weights: Weights) -> str | None:
    """Why there is no OpenVINO IR to serve, nor can be; None where there is or can be."""
    if weights.gguf and not weights.files:
        return "it reads no GGUF; use the engine llamacpp"
    model_type = files.config.text("model_type")
    if model_type not in OPENVINO_MODEL_TYPES:
        named = printable(model_type or "none")
        return f"OpenVINO GenAI's pipeline knows no model_type {named}; use the engine torch"
    if unlike := _unlike_images(files):
        return unlike
    return ir_lacks(folder, files) if weights.is_export else _no_export(folder, files, weights)


def _no_export(folder: Path, files: Documents, weights: Weights) -> str | None:
    """Why a model cannot be exported."""
    model_type = files.config.text("model_type")
    if model_type not in EXPORTED_MODEL_TYPES:
        return (
            f"exporting a {model_type} would run the code that comes with it; a folder with "
            "OpenVINO IR is served"
        )
    return model_lacks(folder, files, weights, template=True)


def _unlike_images(files: Documents) -> str | None:
    """Why the engine could not serve a model's pictures; None where it could."""
    if pads_to_square(files.config, files.image):
        return "its pictures are made square first (do_pad), which the engine does not do"
    family = find_family(files.config)
    if family is None or family.image_tokens(files) is None:
        return "how many tokens a picture takes is not known for it"
    return None


def pads_to_square(config: Document, image: Document) -> bool:
    """Whether pictures are made square before they are resized.

    Only LLaVA's own processor does so (models/llava/image_processing_llava.py of transformers
    4.57); others have `do_pad` for batches, or pass it over.
    """
    kind = image.text("image_processor_type") or "LlavaImageProcessor"
    pads = image.flag("do_pad") is True and kind.startswith("LlavaImageProcessor")
    return pads and config.text("model_type") == "llava"
