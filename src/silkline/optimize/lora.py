"""Merges a LoRA adapter into the model that it was trained on, so that any engine can serve it.

What an adapter adds is in `silkline.models.lora`. Layers that were trained whole
(`modules_to_save`) replace the model's own.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
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
from silkline.models.lora import Lora, Names, check_shape, read_lora
from silkline.models.resolve import ModelLocation, locate_model
from silkline.models.safetensors_header import read_header
from silkline.models.weights import PICKLED, read_weights
from silkline.optimize.build import check_target
from silkline.stores.whole_folder import whole_folder

if TYPE_CHECKING:
    import torch

_ENGINE = "torch"
_WEIGHT = ".weight"

_NOT_ITS_OWN = {MANIFEST, GATE, GATE_PAGE}
"""Files of a bundle that are wrong for the merged model."""


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
    lora = read_lora(adapter)
    location = _base(base, lora.config, environment)
    source = _plain_weights(location)
    files = read_weights(source).files
    shapes = {
        tensor.name: tensor.shape for name in files for tensor in read_header(source / name, name)
    }
    changes = _changes(lora, shapes)
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


def _changes(lora: Lora, shapes: Mapping[str, tuple[int, ...]]) -> _Changes:
    """Reads the adapter's tensors, and finds the base model's tensor for each.

    Args:
        lora: The adapter.
        shapes: The base model's tensors.
    """
    from safetensors.torch import load_file  # noqa: PLC0415 - heavy

    tensors = load_file(lora.folder / ADAPTER_WEIGHTS)
    names = Names(shapes)
    products, whole = {}, {}
    for layer, added in lora.layers.items():
        found = names.find(layer + _WEIGHT)
        check_shape(found, added.shape, shapes[found])
        products[found] = added.scale, tensors[added.down], tensors[added.up]
    for name, shape in lora.whole.items():
        found = names.find(name)
        check_shape(found, shape, shapes[found])
        whole[found] = tensors[name]
    return _Changes(products, whole)


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
