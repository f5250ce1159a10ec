"""Whether vLLM and llama.cpp can serve a model, as far as its files tell."""

from __future__ import annotations

import shlex
from pathlib import Path

from silkline.engines.torch.support import TORCH_MODEL_TYPES, WITHOUT_TEMPLATE
from silkline.models.completeness import (
    check_documents,
    image_processor_lacks,
    shards_lack,
    special_tokens_lack,
    template_lacks,
)
from silkline.models.documents import CONFIG
from silkline.models.families import find_family
from silkline.models.gguf_files import first_of_several, gguf_lacks
from silkline.models.support import ModelFacts, Support, Verdict, serving_command
from silkline.models.token_rules import Documents
from silkline.models.weights import Weights, why_pickled

VLLM = "vllm"
LLAMACPP = "llamacpp"


def vllm_support(facts: ModelFacts) -> Support:
    """Whether vLLM may serve a model; it knows more families than Silkline."""
    location, files, weights = facts
    if (refusal := _vllm_refusal(location.folder, files, weights)) is not None:
        return Support(VLLM, Verdict.NO, refusal)
    command = serving_command(VLLM, location)
    return Support(
        VLLM, Verdict.ELSEWHERE, f"where vLLM is installed and knows the model: {command}"
    )


def llamacpp_support(facts: ModelFacts) -> Support:
    """Whether llama.cpp may serve a model."""
    folder = facts.location.folder
    refusal = why_pickled(facts.weights) or gguf_lacks(folder)
    if refusal is not None:
        return Support(LLAMACPP, Verdict.NO, refusal)
    command = serving_command(LLAMACPP, facts.location)
    if several := first_of_several(folder):
        command += f" --engine-options {shlex.quote(f'file={several}')}"
    why = f"where llama.cpp is installed and knows the model: {command}"
    return Support(LLAMACPP, Verdict.ELSEWHERE, why)


def _vllm_refusal(folder: Path, files: Documents, weights: Weights) -> str | None:
    """What vLLM would miss in a folder; it knows more families than Silkline."""
    if not (folder / CONFIG).is_file():
        return f"its folder has no {CONFIG}"
    check_documents(folder)
    lacks = [shards_lack(weights), special_tokens_lack(folder)]
    model_type = files.config.text("model_type")
    if find_family(files.config) is not None and model_type in TORCH_MODEL_TYPES:
        lacks.append(image_processor_lacks(files))
        lacks.append(None if model_type in WITHOUT_TEMPLATE else template_lacks(folder))
    return "; ".join(filter(None, lacks)) or None
