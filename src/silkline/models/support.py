"""Which engines can serve a model, which cannot, and why."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

import msgspec

from silkline.errors import ConfigError
from silkline.models.adapter import adapter_refusal
from silkline.models.completeness import (
    check_documents,
    few,
    image_processor_lacks,
    shards_lack,
    special_tokens_lack,
    template_lacks,
)
from silkline.models.documents import CONFIG, Document
from silkline.models.families import TEXT_ONLY, find_family, is_text_only
from silkline.models.gguf_files import first_of_several, gguf_lacks
from silkline.models.openvino_ir import ir_lacks
from silkline.models.printable import printable
from silkline.models.resolve import Kind, ModelLocation
from silkline.models.token_rules import Documents
from silkline.models.torch_support import TORCH_MODEL_TYPES, WITHOUT_TEMPLATE, torch_refusal
from silkline.models.weights import Weights, why_pickled

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

EXPORTED_MODEL_TYPES = frozenset({"gemma3", "llava", "llava_next", "qwen2_5_vl", "qwen2_vl"})
"""Of these, what optimum-intel 1.27 exports from transformers' own classes; for the others it would
need the code that comes with the model."""


_ENGINES = ("openvino", "torch", "vllm", "llamacpp", "remote")

EXPORT = "export"
"""The extra with the libraries that export a model."""


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
        extra: The extra of the package that it takes besides the engine's own, such as `export`.
    """

    engine: str
    verdict: Verdict
    why: str
    extra: str | None = None


def engine_support(place: ModelLocation, files: Documents, weights: Weights) -> tuple[Support, ...]:
    """What each of Silkline's engines can do with a model.

    Args:
        place: Where the model lies.
        files: What its JSON files say.
        weights: What lies in its folder.

    Raises:
        ConfigError: A file is damaged.
    """
    if (refusal := _no_engine(place, files, weights)) is not None:
        return tuple(Support(engine, Verdict.NO, refusal) for engine in _ENGINES)
    judges: dict[str, Callable[[], Support]] = {
        "openvino": lambda: _openvino(place, files, weights),
        "torch": lambda: _torch(place, files, weights),
        "vllm": lambda: _vllm(place, files, weights),
        "llamacpp": lambda: _llamacpp(place, weights),
        "remote": lambda: _remote(place, weights),
    }
    return tuple(_judged(engine, judge) for engine, judge in judges.items())


def _judged(engine: str, judge: Callable[[], Support]) -> Support:
    """A damaged file keeps only those engines from serving that read it."""
    try:
        return judge()
    except ConfigError as error:
        return Support(engine, Verdict.NO, error.message.removesuffix("."))


def _no_engine(place: ModelLocation, files: Documents, weights: Weights) -> str | None:
    """Why no engine at all serves a model; None where one may."""
    if place.bundle is not None:
        damaged = place.bundle.damaged_files()
        return f"files of the bundle are missing or damaged: {few(damaged)}" if damaged else None
    if weights.gguf:
        return None
    if is_text_only(files):
        return TEXT_ONLY
    return None if weights.named or weights.is_export else adapter_refusal(place.folder)


def _command(engine: str, place: ModelLocation) -> str:
    """What serves a model, as a shell takes it whatever its path."""
    return f"silkline up --engine {engine} --model {shlex.quote(place.model)}"


def _torch(place: ModelLocation, files: Documents, weights: Weights) -> Support:
    if place.bundle is not None:
        listed = "torch" in place.bundle.manifest.engines
        refusal = None if listed else "the bundle has no weights for it"
    else:
        refusal = torch_refusal(place.folder, files, weights)
    if refusal is not None:
        return Support("torch", Verdict.NO, refusal)
    return Support("torch", Verdict.YES, _command("torch", place))


def _vllm(place: ModelLocation, files: Documents, weights: Weights) -> Support:
    if (refusal := _vllm_refusal(place.folder, files, weights)) is not None:
        return Support("vllm", Verdict.NO, refusal)
    why = f"where vLLM is installed and knows the model: {_command('vllm', place)}"
    return Support("vllm", Verdict.ELSEWHERE, why)


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


def _llamacpp(place: ModelLocation, weights: Weights) -> Support:
    refusal = why_pickled(weights) or gguf_lacks(place.folder)
    if refusal is not None:
        return Support("llamacpp", Verdict.NO, refusal)
    command = _command("llamacpp", place)
    if several := first_of_several(place.folder):
        command += f" --engine-options {shlex.quote(f'file={several}')}"
    why = f"where llama.cpp is installed and knows the model: {command}"
    return Support("llamacpp", Verdict.ELSEWHERE, why)


def _openvino(place: ModelLocation, files: Documents, weights: Weights) -> Support:
    if place.bundle is not None:
        if "openvino" in place.bundle.manifest.engines:
            return Support(
                "openvino", Verdict.YES, f"silkline up --model {shlex.quote(place.model)}"
            )
        return Support("openvino", Verdict.NO, "the bundle has no weights for it")
    refusal = _no_ir(place.folder, files, weights)
    if refusal is not None:
        return Support("openvino", Verdict.NO, refusal)
    command = _command("openvino", place)
    if weights.is_export:
        return Support("openvino", Verdict.YES, command)
    return Support("openvino", Verdict.YES, f"{command} (exports it once)", EXPORT)


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
    """Why a model cannot be exported, which the torch engine's loading is a part of."""
    model_type = files.config.text("model_type")
    if model_type not in EXPORTED_MODEL_TYPES:
        return (
            f"exporting a {model_type} would run the code that comes with it; a folder with "
            "OpenVINO IR is served"
        )
    return torch_refusal(folder, files, weights)


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


def _remote(place: ModelLocation, weights: Weights) -> Support:
    if pickled := why_pickled(weights):
        return Support("remote", Verdict.NO, pickled)
    if not weights.files and place.kind is not Kind.HUB:
        why = "there are no safetensors that another server could load"
        return Support("remote", Verdict.NO, why)
    why = (
        "where another server can load it, such as vLLM: silkline up --engine remote "
        "--remotes http://HOST:PORT"
    )
    return Support("remote", Verdict.ELSEWHERE, why)
