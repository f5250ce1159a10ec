"""Merges a LoRA adapter into the model that it was trained on, so that any engine can serve it.

For a linear layer with the weights `W` `[out, in]`, an adapter of the library peft has a matrix `A`
`[rank, in]` and a matrix `B` `[out, rank]`. Merged, the weights are `W + s B A`, with `s = alpha /
rank`, or `alpha / sqrt(rank)` for rank-stabilised adapters (https://arxiv.org/abs/2106.09685,
https://arxiv.org/abs/2312.03732). Layers that were trained whole (`modules_to_save`) replace the
model's own.
"""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from silkline.engines.registry import is_installed
from silkline.errors import ConfigError, EnvironmentFault, SilklineError
from silkline.models.adapter import ADAPTER, ADAPTER_WEIGHTS, BASE
from silkline.models.bundle import MANIFEST
from silkline.models.completeness import weights_lack
from silkline.models.documents import CONFIG, Document, read_document
from silkline.models.gate import GATE, GATE_PAGE
from silkline.models.resolve import ModelLocation, locate_model
from silkline.models.safetensors_header import read_header
from silkline.models.weights import PICKLED, read_weights
from silkline.optimize.build import check_target
from silkline.stores.whole_folder import whole_folder

if TYPE_CHECKING:
    import torch

_ENGINE = "torch"
_PREFIX = "base_model.model."
_DOWN, _UP, _WEIGHT = ".lora_A.weight", ".lora_B.weight", ".weight"

_NOT_ITS_OWN = {MANIFEST, GATE, GATE_PAGE}
"""Files of a bundle that are wrong for the merged model."""

_LAYERS = re.compile(r"[\w.]+")
"""A key of `alpha_pattern` that names layers; peft takes any regular expression."""

_WRAPPERS = {"model", "language_model"}
"""Parts of a layer's name that differ between a checkpoint and the class that was trained."""

_REFUSED: Mapping[str, tuple[object, ...]] = {
    "use_dora": (None, False),
    "fan_in_fan_out": (None, False),
    "bias": (None, "none"),
    "layer_replication": (None, []),
    "target_parameters": (None, []),
}
"""What changes the formula, with the values that do not."""


@dataclass(frozen=True, slots=True)
class Merged:
    """What a merge did.

    Attributes:
        base: The base model, as it was named.
        layers: Layers to which a product of two matrices was added.
        replaced: Tensors that were replaced.
    """

    base: str
    layers: int
    replaced: int


@dataclass(frozen=True, slots=True)
class _Changes:
    """What an adapter changes, by the name of the base model's tensor.

    Attributes:
        products: Scale, A and B of what is added.
        whole: What takes the tensor's place.
    """

    products: Mapping[str, tuple[float, torch.Tensor, torch.Tensor]]
    whole: Mapping[str, torch.Tensor]


def merge_adapter(
    adapter: Path,
    target: Path,
    environment: Mapping[str, str],
    *,
    base: str = "",
    on_shard: Callable[[int, int], None] = lambda _done, _total: None,
) -> Merged:
    """Writes the base model with an adapter merged into it to a new folder.

    The folder appears only when it is complete. The memory taken is that of the largest shard.

    Args:
        adapter: The adapter's folder.
        target: The new folder.
        environment: The environment variables, to find the Hugging Face cache.
        base: The base model; by default the one that the adapter names.
        on_shard: Called with how many files of weights are done, and how many there are.

    Raises:
        ConfigError: The adapter is damaged or of another kind, it does not fit the base model, that
            is incomplete or quantised, or the target exists.
        EnvironmentFault: The base model is not on this machine, a library is not installed, or the
            target cannot be written.
    """
    check_target(target)
    missing = [name for name in ("torch", "safetensors") if not is_installed(name)]
    if missing:
        raise EnvironmentFault(
            f"Merging needs {' and '.join(missing)}, which cannot be found.",
            remedy="pip install 'silkline[torch]'",
        )
    config = _config(adapter)
    location = _base(base, config, environment)
    source = _plain_weights(location)
    files = read_weights(source).files
    shapes = {
        tensor.name: tensor.shape for name in files for tensor in read_header(source / name, name)
    }
    changes = _changes(adapter, config, shapes)
    try:
        with whole_folder(target) as draft:
            _copy(source, draft)
            for done, name in enumerate(files):
                on_shard(done, len(files))
                _merge_file(source / name, draft / name, changes)
            on_shard(len(files), len(files))
    except OSError as error:
        raise EnvironmentFault(
            f"{target} cannot be written: {error.strerror}. Free space, or choose another folder "
            "by --out."
        ) from error
    return Merged(location.model, len(changes.products), len(changes.whole))


def _config(adapter: Path) -> Document:
    if not (adapter / ADAPTER).is_file():
        raise ConfigError(f"{adapter} holds no adapter: expected a folder with an {ADAPTER}.")
    config = read_document(adapter / ADAPTER, ADAPTER)
    kind = config.text("peft_type") or ""
    if kind.upper() != "LORA":
        raise ConfigError(f"{ADAPTER} is of the kind {kind or 'unknown'}; only LoRA can be merged.")
    for key, plain in _REFUSED.items():
        if config.values.get(key) not in plain:
            raise ConfigError(
                f"{ADAPTER} sets {key}, which silkline merge does not support. Merge it with the "
                "library that trained it (merge_and_unload of peft)."
            )
    return config


def _base(base: str, config: Document, environment: Mapping[str, str]) -> ModelLocation:
    named = base or config.text(BASE)
    if not named:
        raise ConfigError(f"{ADAPTER} does not name a base model ({BASE}). Name it by --base.")
    try:
        return locate_model(named, environment)
    except SilklineError as error:
        if base:
            raise
        raise ConfigError(
            f"The base model that {ADAPTER} names cannot be used. {error.message} "
            "Or name another place by --base."
        ) from error


def _plain_weights(location: ModelLocation) -> Path:
    """The folder of the base model's weights, which are complete and not quantised."""
    bundle = location.bundle
    if bundle is not None and _ENGINE not in bundle.manifest.engines:
        raise ConfigError(f"The bundle {location.model} has no safetensors to merge into.")
    source = location.folder if bundle is None else bundle.weights(_ENGINE)
    weights = read_weights(source)
    if lack := weights_lack(source, read_document(source / CONFIG, CONFIG), weights):
        raise ConfigError(f"The base model {location.model} cannot be merged into: {lack}.")
    return source


def _changes(adapter: Path, config: Document, shapes: Mapping[str, tuple[int, ...]]) -> _Changes:
    """Reads the adapter's tensors, and finds the base model's tensor for each.

    Args:
        adapter: The adapter's folder.
        config: Its configuration.
        shapes: The base model's tensors.
    """
    from safetensors.torch import load_file  # noqa: PLC0415 - heavy

    if not (adapter / ADAPTER_WEIGHTS).is_file():
        raise ConfigError(
            f"{adapter} has no {ADAPTER_WEIGHTS}. Copy or download the whole adapter; weights of "
            "another format are not read."
        )
    read_header(adapter / ADAPTER_WEIGHTS, ADAPTER_WEIGHTS)  # a damaged file is told by name
    tensors = load_file(adapter / ADAPTER_WEIGHTS)
    known = _by_key(shapes)
    products, whole = {}, {}
    for name, tensor in tensors.items():
        if name.endswith(_DOWN):
            layer = name.removesuffix(_DOWN)
            up = tensors.get(layer + _UP)
            if up is None:
                raise ConfigError(f"{ADAPTER_WEIGHTS} has {name} without its lora_B.")
            found = _found(known, layer + _WEIGHT)
            _check_shape(found, (up.shape[0], *tensor.shape[1:]), shapes)
            scale = _scale(config, layer.removeprefix(_PREFIX), tensor.shape[0])
            products[found] = scale, tensor, up
        elif ".lora_" not in name:
            found = _found(known, name)
            _check_shape(found, tuple(tensor.shape), shapes)
            whole[found] = tensor
        elif not name.endswith(_UP):
            raise ConfigError(
                f"{ADAPTER_WEIGHTS} has {name}, which silkline merge does not support: only linear "
                "layers are. Merge it with the library that trained it (merge_and_unload of peft)."
            )
    return _Changes(products, whole)


def _key(name: str) -> tuple[str, ...]:
    """A tensor's name without what differs between checkpoints and classes."""
    return tuple(part for part in name.split(".") if part not in _WRAPPERS)


def _by_key(names: Iterable[str]) -> dict[tuple[str, ...], list[str]]:
    known: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        known.setdefault(_key(name), []).append(name)
    return known


def _found(known: Mapping[tuple[str, ...], list[str]], name: str) -> str:
    """The base model's tensor for a name in the adapter."""
    inner = name.removeprefix(_PREFIX)
    found = known.get(_key(inner), [])
    if inner in found:
        return inner
    if len(found) != 1:
        raise ConfigError(
            f"The adapter changes {inner}, for which the base model has "
            f"{'no tensor' if not found else 'several'}. Name the model that it was trained on by "
            "--base."
        )
    return found[0]


def _check_shape(name: str, shape: tuple[int, ...], shapes: Mapping[str, tuple[int, ...]]) -> None:
    if shapes[name] != shape:
        raise ConfigError(
            f"The adapter has the shape {list(shape)} for {name}, where the base model has "
            f"{list(shapes[name])}. Name the model that it was trained on by --base."
        )


def _scale(config: Document, layer: str, rank: int) -> float:
    """What the product of a layer's matrices is multiplied with."""
    alpha = config.decimal("lora_alpha")
    pattern = config.section("alpha_pattern")
    for key in pattern.values:
        if not _LAYERS.fullmatch(key):
            raise ConfigError(f"{ADAPTER} has an alpha_pattern that names no layer: {key[:80]!r}.")
        if f".{layer}".endswith(f".{key}"):
            alpha = pattern.decimal(key)
            break
    if alpha is None:
        raise ConfigError(f"{ADAPTER} lacks lora_alpha.")
    return alpha / (math.sqrt(rank) if config.values.get("use_rslora") else rank)


def _copy(source: Path, draft: Path) -> None:
    """Copies what belongs to the base model, but its weights and what a gate said of it."""
    for file in sorted(source.iterdir()):
        left_out = file.name in _NOT_ITS_OWN or file.suffix in {".safetensors", *PICKLED}
        if file.is_file() and not file.name.startswith(".") and not left_out:
            shutil.copyfile(file, draft / file.name)


def _merge_file(source: Path, target: Path, changes: _Changes) -> None:
    from safetensors.torch import load_file, save_file  # noqa: PLC0415 - heavy

    tensors = load_file(source)
    for name, tensor in tensors.items():
        if name in changes.whole:
            tensors[name] = changes.whole[name].to(tensor.dtype)
        if name in changes.products:
            scale, down, up = changes.products[name]
            added = scale * (up.float() @ down.float())
            tensors[name] = (tensors[name].float() + added).to(tensor.dtype)
    save_file(tensors, target, metadata={"format": "pt"})
