"""Optimisations for the engine torch: quantised safetensors, which vLLM and SGLang load as well.

They write the compressed-tensors format. A layer keeps its name, so any family's files can be
quantised without running the model: one file at a time, one tensor at a time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from silkline.errors import ConfigError
from silkline.models.bundle import Bundle, EngineWeights
from silkline.models.compressed import (
    EVERY_LINEAR,
    SCHEMES,
    SECTION,
    Compressed,
    Scheme,
    read_compressed,
    written,
)
from silkline.models.documents import CONFIG, read_document
from silkline.models.safetensors_header import Tensor, read_header
from silkline.models.weights import INDEX, PLAIN_DTYPES, Part, part_of, pattern_of, read_weights
from silkline.optimize.exact import EXACT
from silkline.optimize.optimisation import Optimisation, Work

if TYPE_CHECKING:
    import torch

_ENGINE = "torch"
_MATRIX = 2
_GROUPS = (128, 64, 32)
"""Weights that share a scale in INT4: the largest that divides the rows of all layers."""

_LAYER = re.compile(r"\.\d+\.")
"""In the name of a layer that repeats; what stands outside is an embedding, a head or a pooler."""

_KEPT = (
    r".*lm_head$",
    r".*\.(?:gate|shared_expert_gate)$",
    r".*\.router(?:\.|$).*",
    r".*\.linear_attn\..*",
)
"""Layers that lose much for what they weigh: the head, routers of experts, gated delta nets."""

_WEIGHT = ".weight"


def _linear(tensor: Tensor, part: Part) -> str | None:
    """The name of the layer whose weight this is, if it is to be quantised with a part."""
    layer = tensor.name.removesuffix(_WEIGHT)
    fits = layer != tensor.name and len(tensor.shape) == _MATRIX and _LAYER.search(layer)
    kept = any(re.match(pattern, layer) for pattern in _KEPT)
    return layer if fits and not kept and part_of(tensor.name) is part else None


def _layers(folder: Path, part: Part) -> dict[str, int]:
    """The layers to quantise and the length of their rows."""
    return {
        layer: tensor.shape[1]
        for name in read_weights(folder).files
        for tensor in read_header(folder / name, name)
        if (layer := _linear(tensor, part)) is not None
    }


def _fitted(scheme: Scheme, layers: Mapping[str, int], part: Part) -> Scheme:
    """The scheme with a group that fits the layers; `layers` has the length of their rows.

    Raises:
        ConfigError: There is nothing to quantise, or no group fits.
    """
    widths = layers.values()
    if not widths:
        raise ConfigError(f"its safetensors have no layers of a {part}")
    if not scheme.group:
        return scheme
    for size in _GROUPS:
        if not any(width % size for width in widths):
            return msgspec.structs.replace(scheme, group=size)
    raise ConfigError(f"the rows of its layers are not divisible by {_GROUPS[-1]}")


def _why_not(scheme: Scheme, part: Part, bundle: Bundle) -> str:
    entry = bundle.manifest.engines[_ENGINE]
    vision = part is Part.VISION
    precision = (entry.vision_precision if vision else None) or entry.precision
    if precision not in EXACT:
        return f"its {part} is {precision} already; start from a bundle with plain weights"
    try:
        _fitted(scheme, _layers(bundle.weights(_ENGINE), part), part)
    except ConfigError as error:
        return error.message
    return ""


def _quantise(scheme: Scheme, part: Part, work: Work) -> EngineWeights:
    from safetensors.torch import load_file, save_file  # noqa: PLC0415 - heavy

    layers = _layers(work.folder, part)
    scheme = _fitted(scheme, layers, part)
    shards: dict[str, str] = {}
    for name in read_weights(work.folder).files:
        tensors = load_file(work.folder / name)
        made = dict(_quantised(tensors, scheme, layers))
        save_file(made, work.folder / name, metadata={"format": "pt"})
        shards |= dict.fromkeys(made, name)
    if (work.folder / INDEX).is_file():
        size = read_weights(work.folder).tensor_bytes
        index = {"metadata": {"total_size": size}, "weight_map": dict(sorted(shards.items()))}
        _write(work.folder / INDEX, index)
    _write_config(work.folder, scheme, part, layers)
    if part is Part.VISION:
        return msgspec.structs.replace(work.weights, vision_precision=scheme.name)
    vision = work.weights.vision_precision or work.weights.precision
    return msgspec.structs.replace(work.weights, precision=scheme.name, vision_precision=vision)


def _quantised(
    tensors: dict[str, torch.Tensor], scheme: Scheme, layers: dict[str, int]
) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of a file, with the weights of these layers quantised."""
    from silkline.optimize.rounding import rounded  # noqa: PLC0415 - heavy

    while tensors:
        name, tensor = tensors.popitem()
        layer = name.removesuffix(_WEIGHT)
        if layer == name or layer not in layers:
            yield name, tensor
            continue
        for suffix, part in rounded(tensor, scheme).items():
            yield f"{layer}.{suffix}", part


def _write_config(folder: Path, scheme: Scheme, part: Part, layers: dict[str, int]) -> None:
    """Adds the quantised layers to config.json, without naming each of them."""
    config = read_document(folder / CONFIG, CONFIG)
    before = read_compressed(config)
    groups = list(before.groups) if before else []
    tower = pattern_of(Part.VISION)
    if part is Part.VISION:
        leaves = "|".join(sorted({re.escape(layer.rpartition(".")[2]) for layer in layers}))
        groups.insert(0, (scheme, (rf"re:{tower}.*\.(?:{leaves})$",)))  # the first match counts
    else:
        groups.append((scheme, (EVERY_LINEAR,)))
    has_tower = any(EVERY_LINEAR not in targets for _, targets in groups)
    kept = _plain_matrices(folder, Part.VISION) if has_tower else [f"{tower}.*"]
    ignore = (*_KEPT, rf"{pattern_of(Part.PROJECTOR)}.*", *kept)
    section = written(Compressed(tuple(groups), tuple(f"re:{each}" for each in ignore)))
    _write(folder / CONFIG, dict(config.values) | {SECTION: section})


def _plain_matrices(folder: Path, part: Part) -> list[str]:
    """Patterns for the weights of a part that are matrices and not quantised."""
    return [
        f".*{re.escape(tensor.name.removesuffix(_WEIGHT))}$"
        for name in read_weights(folder).files
        for tensor in read_header(folder / name, name)
        if tensor.name.endswith(_WEIGHT)
        and tensor.dtype in PLAIN_DTYPES
        and len(tensor.shape) == _MATRIX
        and part_of(tensor.name) is part
    ]


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _optimisation(scheme: str, part: Part, about: str) -> Optimisation:
    vision = part is Part.VISION
    return Optimisation(
        f"vision-{scheme}" if vision else scheme,
        f"the {part} {about}",
        _ENGINE,
        partial(_why_not, SCHEMES[scheme], part),
        partial(_quantise, SCHEMES[scheme], part),
        ("torch", "safetensors"),
        parts=frozenset({"vision" if vision else "decoder"}),
    )


_W8A16 = "with weights in INT8, a scale per channel"
_W8A8 = "in INT8, a scale per channel of weights and per token of inputs"
_W4A16 = f"with weights in INT4, a scale per {_GROUPS[0]} weights or fewer"
_FP8 = "in FP8, a scale per channel of weights and per token of inputs"

W8A16 = _optimisation("w8a16", Part.LANGUAGE, _W8A16)
W8A8 = _optimisation("w8a8", Part.LANGUAGE, _W8A8)
W4A16 = _optimisation("w4a16", Part.LANGUAGE, _W4A16)
FP8 = _optimisation("fp8", Part.LANGUAGE, _FP8)
VISION_W8A16 = _optimisation("w8a16", Part.VISION, _W8A16)
VISION_W8A8 = _optimisation("w8a8", Part.VISION, _W8A8)
VISION_FP8 = _optimisation("fp8", Part.VISION, _FP8)
