"""Exports a model; needs its own process, for torch, transformers, optimum-intel and nncf."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import nncf
import openvino as ov
import torch
from openvino_tokenizers import convert_tokenizer
from optimum.exporters.openvino.convert import export_from_model
from optimum.intel.openvino.configuration import OVConfig

from silkline.engines.memory import free_memory
from silkline.engines.openvino.export.original import Original, load_original
from silkline.engines.openvino.export.plan import Plan, Precision
from silkline.engines.openvino.export.proof import ask_export, ask_transformers, compare
from silkline.engines.openvino.export.towers import quantize_tower
from silkline.engines.openvino.images import ClipPreprocessor
from silkline.engines.openvino.served import NAME
from silkline.errors import ConfigError, EnvironmentFault
from silkline.models.added_tokens import TOKENIZER_CONFIG
from silkline.models.bundle import MANIFEST, SCHEMA
from silkline.models.decoder import read_decoder
from silkline.models.documents import read_document
from silkline.models.families import find_family
from silkline.models.inspection import context_of
from silkline.models.preprocessing import Preprocessing, read_preprocessing, shorter_edge
from silkline.models.source import file_digest
from silkline.models.token_rules import Documents, read_documents
from silkline.models.weights import VISION_TOWER

OnProgress = Callable[[str, int, int], None]
"""Called with the current stage, the number of its parts that are done, and their total."""

_IR = "openvino"
_EXACT = "exact"
_GRAPHS = "openvino_*_model.xml"
"""All graphs with weights; the tokenizer's have none."""

_STATIC_FAMILIES = frozenset({"llava"})
"""Families whose images the engine preprocesses, so that activation ranges can be measured."""

_KEPT = (
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "merges.txt",
    "preprocessor_config.json",
    "processor_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
)
"""Files that the engine reads beside the graphs, copied unchanged from the source."""

_FLOAT32_BYTES, _SPARE = 4, 1.5


def export(plan: Plan, folder: Path, on_progress: OnProgress) -> None:
    """Exports a model as a bundle into a folder.

    Raises:
        ConfigError: The model is damaged, or the export's answers differ from the model's.
        EnvironmentFault: A library cannot convert this model.
    """
    on_progress("reading the weights", 0, 0)
    files = read_documents(Path(plan.source))
    original = load_original(Path(plan.source), files, _dtype(plan))
    reference = f"transformers {plan.versions['transformers']}, {original.model.dtype}"
    expected = ask_transformers(
        original, lambda done, total: on_progress("asking transformers about images", done, total)
    )
    exact = folder / (_IR if plan.precision is Precision.FP16 else _EXACT)
    on_progress("converting the graphs", 0, 0)
    _convert(original, plan, exact)
    steps = read_preprocessing(files.image)
    facts = _facts(files, plan, steps)
    del original
    gc.collect()
    towers = None
    if plan.precision is Precision.INT8:
        _compress(exact, folder / _IR, on_progress)
        towers = _static_tower(plan, steps, exact, folder / _IR, on_progress)
        _remove(exact)
    _write_manifest(folder, plan, facts, towers, None)
    actual = ask_export(
        folder, lambda done, total: on_progress("asking the export the same", done, total)
    )
    agreement = compare(expected, actual, reference)
    agreement.check()
    on_progress("writing the manifest", 0, 0)
    _write_manifest(folder, plan, facts, towers, msgspec.to_builtins(agreement))


def _dtype(plan: Plan) -> torch.dtype | None:
    """float32 if there is enough memory, so that the reference is exact; otherwise as stored."""
    needed = plan.parameters * _FLOAT32_BYTES * _SPARE
    return torch.float32 if free_memory() > needed else None


def _convert(original: Original, plan: Plan, target: Path) -> None:
    """Writes graphs with float16 weights, tokenizer, detokenizer, and copies the small files."""
    target.mkdir()
    source = Path(plan.source)
    half = original.model.dtype in {torch.float16, torch.bfloat16}
    try:
        export_from_model(
            model=original.model,
            output=target,
            task="image-text-to-text",
            ov_config=OVConfig(dtype="fp16"),
            preprocessors=[original.image_processor],  # for the size of traced images
            patch_16bit_model=half,
        )
        converted = convert_tokenizer(original.tokenizer, with_detokenizer=True)
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise EnvironmentFault(
            f"optimum-intel {plan.versions['optimum-intel']} cannot convert this model "
            f"({type(error).__name__}: {error}). Serve it with --engine torch."
        ) from error
    for name, graph in zip(("tokenizer", "detokenizer"), converted, strict=True):
        ov.save_model(graph, target / f"openvino_{name}.xml")
    for name in _KEPT:
        if (source / name).is_file():
            (target / name).write_bytes((source / name).read_bytes())
    if not (target / "preprocessor_config.json").is_file():
        original.image_processor.save_pretrained(target)


def _compress(exact: Path, target: Path, on_progress: OnProgress) -> None:
    """Compresses the weights to INT8, asymmetric, one scale per channel."""
    target.mkdir()
    graphs = sorted(path.name for path in exact.glob(_GRAPHS))
    for index, name in enumerate(graphs):
        on_progress("compressing the weights", index, len(graphs))
        graph = ov.Core().read_model(exact / name)
        compressed_graph = nncf.compress_weights(graph, mode=nncf.CompressWeightsMode.INT8_ASYM)
        ov.save_model(compressed_graph, target / name)
    compressed = {name.removesuffix(".xml") for name in graphs}
    for path in exact.iterdir():
        if path.stem not in compressed:
            path.rename(target / path.name)


def _static_tower(
    plan: Plan, steps: Preprocessing | None, exact: Path, target: Path, on_progress: OnProgress
) -> dict[str, Any] | None:
    if (
        plan.model_type not in _STATIC_FAMILIES
        or steps is None
        or not ClipPreprocessor.supported(steps)
    ):
        return None
    on_progress("measuring the vision tower on images", 0, 0)
    return quantize_tower(exact / VISION_TOWER, target / VISION_TOWER, ClipPreprocessor(steps))


def _remove(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def _facts(files: Documents, plan: Plan, steps: Preprocessing | None) -> dict[str, Any]:
    """The model's part of the manifest."""
    family = find_family(files.config)
    rule = None if family is None else family.image_tokens(files)
    decoder = read_decoder(files.config, None if family is None else family.text_type)
    tokenizer = read_document(Path(plan.source) / TOKENIZER_CONFIG, TOKENIZER_CONFIG)
    context = context_of(decoder, tokenizer)
    if rule is None or context is None:
        raise ConfigError(
            "The model's files do not state its context length or the tokens of an image. Serve it "
            "with --engine remote."
        )
    return {
        "schema": SCHEMA,
        "name": plan.name,
        "family": plan.model_type,
        "revision": plan.key[:16],
        "license": plan.license or "not stated",
        "context_length": context,
        "image_tokens": rule.maximum().total,
        "image_size": shorter_edge(steps),
        "parameters": plan.parameters,
        "parent": {"model": plan.parent, "sha256": plan.digest},
        "exporters": plan.versions,
    }


def _write_manifest(
    folder: Path,
    plan: Plan,
    facts: dict[str, Any],
    towers: dict[str, Any] | None,
    agreement: dict[str, Any] | None,
) -> None:
    int8 = plan.precision is Precision.INT8
    vision = "int8 static" if towers is not None and towers["chosen"] == "static" else None
    weights = {
        "path": _IR,
        "precision": plan.precision,
        "vision_precision": vision,
        "kv_precision": "u8" if int8 else "f16",
    }
    evaluation = {"same_answers_as_transformers": agreement, "vision_towers": towers}
    files = sorted(path for path in (folder / _IR).rglob("*") if path.is_file())
    manifest = {
        **facts,
        "engines": {NAME: weights},
        "evaluation": {name: value for name, value in evaluation.items() if value is not None},
        "files": {path.relative_to(folder).as_posix(): file_digest(path) for path in files},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
