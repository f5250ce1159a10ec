"""Reads LoRA adapters from their files' headers: which layers they change, and how.

For a linear layer with the weights `W` `[out, in]`, an adapter of the library peft has a matrix `A`
`[rank, in]` and a matrix `B` `[out, rank]`. With it the weights are `W + s B A`, where `s = alpha /
rank`, or `alpha / sqrt(rank)` for rank-stabilised adapters (https://arxiv.org/abs/2106.09685,
https://arxiv.org/abs/2312.03732).
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from silkline.errors import ConfigError
from silkline.models.adapter import ADAPTER, ADAPTER_WEIGHTS
from silkline.models.documents import Document, read_document
from silkline.models.safetensors_header import read_header

_PREFIX = "base_model.model."
_DOWN, _UP = ".lora_A.weight", ".lora_B.weight"

_LAYERS = re.compile(r"[\w.]+")
"""A key of `alpha_pattern` that names layers; peft takes any regular expression."""

_WRAPPERS = {"model", "language_model"}
"""Parts of a layer's name that differ between a checkpoint and the class that was trained."""

_REVISION_BYTES = 6

_REFUSED: Mapping[str, tuple[object, ...]] = {
    "use_dora": (None, False),
    "fan_in_fan_out": (None, False),
    "bias": (None, "none"),
    "layer_replication": (None, []),
    "target_parameters": (None, []),
}
"""What changes the formula, with the values that do not."""


@dataclass(frozen=True, slots=True)
class LoraLayer:
    """What an adapter adds to one linear layer.

    Attributes:
        down: The name of the tensor `A`, `[rank, in]`.
        up: The name of the tensor `B`, `[out, rank]`.
        scale: What their product is multiplied with.
        rank: The rank of their product.
        shape: The shape of the layer's weights, `(out, in)`; longer for convolutions.
    """

    down: str
    up: str
    scale: float
    rank: int
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Lora:
    """A LoRA adapter, as the headers of its files describe it.

    Attributes:
        folder: Its folder.
        config: The content of adapter_config.json.
        layers: What it adds, by the layer's name in the class that was trained.
        whole: The shapes of tensors that were trained whole, by the names in its file.
        bytes: Size of its weights.
    """

    folder: Path
    config: Document
    layers: Mapping[str, LoraLayer]
    whole: Mapping[str, tuple[int, ...]]
    bytes: int

    @property
    def rank(self) -> int:
        """The largest rank of its layers; 0 if it has none."""
        return max((layer.rank for layer in self.layers.values()), default=0)


def read_lora(folder: Path) -> Lora:
    """Reads what an adapter changes; reads no weights.

    Raises:
        ConfigError: The folder holds no LoRA adapter, or one that is damaged or of a kind that is
            not supported.
    """
    config = _config(folder)
    if not (folder / ADAPTER_WEIGHTS).is_file():
        raise ConfigError(
            f"{folder} has no {ADAPTER_WEIGHTS}. Copy or download the whole adapter; weights of "
            "another format are not read."
        )
    header = read_header(folder / ADAPTER_WEIGHTS, ADAPTER_WEIGHTS)
    shapes = {tensor.name: tensor.shape for tensor in header}
    layers: dict[str, LoraLayer] = {}
    whole: dict[str, tuple[int, ...]] = {}
    for name, shape in shapes.items():
        if name.endswith(_DOWN):
            stem = name.removesuffix(_DOWN)
            if (up := shapes.get(stem + _UP)) is None:
                raise ConfigError(f"{ADAPTER_WEIGHTS} has {name} without its lora_B.")
            layer = stem.removeprefix(_PREFIX)
            scale = _scale(config, layer, shape[0])
            layers[layer] = LoraLayer(name, stem + _UP, scale, shape[0], (up[0], *shape[1:]))
        elif ".lora_" not in name:
            whole[name] = shape
        elif not name.endswith(_UP):
            raise ConfigError(
                f"{ADAPTER_WEIGHTS} has {name}, which Silkline does not support: only linear "
                "layers are. Merge it with the library that trained it (merge_and_unload of peft)."
            )
    size = (folder / ADAPTER_WEIGHTS).stat().st_size
    return Lora(folder, config, layers, whole, size)


def lora_revision(folder: Path) -> str:
    """Returns a digest of an adapter's files; reads them to their end.

    Raises:
        ConfigError: A file cannot be read.
    """
    state = hashlib.blake2b(digest_size=_REVISION_BYTES)
    for name in (ADAPTER, ADAPTER_WEIGHTS):
        try:
            with (folder / name).open("rb") as file:
                state.update(hashlib.file_digest(file, "blake2b").digest())
        except OSError as error:
            raise ConfigError(f"{folder / name} cannot be read: {error.strerror}.") from error
    return state.hexdigest()


class Names:
    """Finds the base model's name for a layer or tensor that an adapter names."""

    def __init__(self, names: Iterable[str]) -> None:
        """Takes the base model's names."""
        self._known: dict[tuple[str, ...], list[str]] = {}
        for name in names:
            self._known.setdefault(_key(name), []).append(name)

    def find(self, name: str) -> str:
        """Returns the base model's name.

        Raises:
            ConfigError: The base model has none, or several.
        """
        inner = name.removeprefix(_PREFIX)
        found = self._known.get(_key(inner), [])
        if inner in found:
            return inner
        if len(found) != 1:
            raise ConfigError(
                f"The adapter changes {inner}, for which the base model has "
                f"{'no tensor' if not found else 'several'}. Name the model that it was trained on "
                "as its base."
            )
        return found[0]


def check_shape(name: str, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """Checks that an adapter's shape for a layer or tensor is the base model's.

    Raises:
        ConfigError: It is another.
    """
    if shape != expected:
        raise ConfigError(
            f"The adapter has the shape {list(shape)} for {name}, where the base model has "
            f"{list(expected)}. Name the model that it was trained on as its base."
        )


def _key(name: str) -> tuple[str, ...]:
    """A name without what differs between checkpoints and classes."""
    return tuple(part for part in name.split(".") if part not in _WRAPPERS)


def _config(folder: Path) -> Document:
    if not (folder / ADAPTER).is_file():
        raise ConfigError(f"{folder} holds no adapter: expected a folder with an {ADAPTER}.")
    config = read_document(folder / ADAPTER, ADAPTER)
    kind = config.text("peft_type") or ""
    if kind.upper() != "LORA":
        raise ConfigError(f"{ADAPTER} is of the kind {kind or 'unknown'}; only LoRA is supported.")
    for key, plain in _REFUSED.items():
        if config.values.get(key) not in plain:
            raise ConfigError(
                f"{ADAPTER} sets {key}, which Silkline does not support. Merge it with the "
                "library that trained it (merge_and_unload of peft)."
            )
    return config


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
