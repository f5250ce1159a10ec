"""Scales the images of a LLaVA layout down, so that its vision tower has fewer patches.

The model's files say so afterwards: the tower's image size, the preprocessing, and the position
embeddings, which are interpolated. The engines serve it like any other model.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import msgspec

from silkline.errors import ConfigError
from silkline.models.bundle import Bundle, EngineWeights
from silkline.models.documents import read_document
from silkline.models.families import token_rule
from silkline.models.image_tokens import Fixed
from silkline.models.preprocessing import read_preprocessing
from silkline.models.pruning import Method, Pruning
from silkline.models.token_rules import read_documents
from silkline.models.weights import VISION_TOWER
from silkline.optimize.optimisation import Work

_CONFIG, _IMAGES = "config.json", "preprocessor_config.json"
_TOWERS = frozenset({"clip_vision_model", "siglip_vision_model"})
_POSITIONS = "embeddings.position_embedding.weight"


def not_downsampled(engine: str, bundle: Bundle) -> str:
    """Why a model's images cannot be scaled down; empty if they can."""
    files = read_documents(bundle.weights(engine))
    rule = token_rule(files)
    vision = files.config.section("vision_config")
    if files.config.text("model_type") != "llava" or not isinstance(rule, Fixed):
        return "only LLaVA layouts can be scaled down so; elsewhere, set max_pixels"
    if (vision.text("model_type") or "clip_vision_model") not in _TOWERS:
        return "its vision tower is neither CLIP's nor SigLIP's"
    if bundle.manifest.engines[engine].pruning is not None:
        return "its image tokens are pruned already"
    edge, patch = vision.number("image_size"), vision.number("patch_size")
    steps = read_preprocessing(files.image)
    if edge is None or patch is None or steps is None:
        return "its files do not state the sizes of image and patch"
    if {*steps.size.values(), *steps.crop.values()} != {edge}:
        return "its images are not scaled to the size of its vision tower"
    return ""


def downsample_openvino(keep: float, work: Work) -> EngineWeights:
    """Scales down for the engine openvino; `applies` was checked.

    Raises:
        ConfigError: The share keeps all, or the graph has no position embeddings.
    """
    import openvino as ov  # noqa: PLC0415 - heavy

    from silkline.engines.openvino.export.positions import (  # noqa: PLC0415 - heavy
        interpolate_positions,
    )
    from silkline.engines.openvino.export.towers import replace_graph  # noqa: PLC0415 - heavy

    before, after = _sides(work.folder, keep)
    tower = ov.Core().read_model(work.folder / VISION_TOWER)
    interpolate_positions(tower, before, after)
    replace_graph(work.folder / VISION_TOWER, tower)
    _write_sizes(work.folder, after)
    return work.weights


def downsample_torch(keep: float, work: Work) -> EngineWeights:
    """Scales down for the engine torch; `applies` was checked.

    Raises:
        ConfigError: The share keeps all, or no file has position embeddings.
    """
    from safetensors import safe_open  # noqa: PLC0415 - optional
    from safetensors.torch import load_file, save_file  # noqa: PLC0415 - heavy

    from silkline.engines.torch.positions import interpolated  # noqa: PLC0415 - heavy

    before, after = _sides(work.folder, keep)
    for path in sorted(work.folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            names = [name for name in file.keys() if name.endswith(_POSITIONS)]  # noqa: SIM118
            metadata = file.metadata()
        if names:
            tensors = load_file(path)
            for name in names:
                tensors[name] = interpolated(tensors[name], before, after)
            draft = path.with_suffix(".draft")
            save_file(tensors, draft, metadata)
            draft.replace(path)
            _write_sizes(work.folder, after)
            return work.weights
    raise ConfigError(f"No weights named {_POSITIONS} were found. Leave this optimisation out.")


def _sides(folder: Path, keep: float) -> tuple[int, int]:
    """Patches along a side of the tower's input, before and after."""
    vision = read_document(folder / _CONFIG, _CONFIG).section("vision_config")
    edge, patch = vision.number("image_size"), vision.number("patch_size")
    if edge is None or patch is None:
        raise AssertionError("checked by `applies`")
    before = edge // patch
    asked = Pruning(Method.RANDOM, keep).kept(before**2)
    low = max(1, math.isqrt(asked))
    after = min((low, low + 1), key=lambda side: abs(side**2 - asked))
    if after >= before:
        raise ConfigError(
            f"An image of {before} x {before} patches cannot be scaled down to a share of "
            f"{keep:g}. Keep less."
        )
    return before, after


def _write_sizes(folder: Path, side: int) -> None:
    """Writes the new sizes into the model's files."""
    config = _read(folder / _CONFIG)
    edge = side * config["vision_config"]["patch_size"]
    config["vision_config"]["image_size"] = edge
    if "image_seq_length" in config:
        config["image_seq_length"] = side**2
    _write(folder / _CONFIG, config)
    for name in (_IMAGES, "processor_config.json"):
        if (folder / name).is_file():
            _write(folder / name, _resized(_read(folder / name), edge))


def _resized(document: Any, edge: int) -> Any:
    """A copy of the JSON, with all lengths under `size` and `crop_size` replaced."""
    if not isinstance(document, dict):
        return document
    lengths = {"size", "crop_size"}
    return {
        name: _all_of(value, edge) if name in lengths else _resized(value, edge)
        for name, value in document.items()
    }


def _all_of(value: Any, edge: int) -> Any:
    return dict.fromkeys(value, edge) if isinstance(value, dict) else edge


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found


def _write(path: Path, values: dict[str, Any]) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(values), indent=2) + b"\n")
