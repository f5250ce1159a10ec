"""Adds LoRA adapters to the linear layers of one model, for each request of a step its own.

The model's weights stay as they are. A hook on each layer that an adapter changes adds the product
of its two matrices to the rows of the requests that use the adapter; all others keep their output.
The rows of a step are grouped by adapter, so one pass through the model serves the base and any
number of adapters.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch
from torch import nn

from silkline.core import LoraAdapter
from silkline.errors import ConfigError
from silkline.models.adapter import ADAPTER_WEIGHTS
from silkline.models.lora import Names, check_shape, read_lora
from silkline.stores.lru import Lru

_ROUTED = "experts"
"""Part of the names of layers that get only the tokens that a router chose, in no known order."""


@dataclass(frozen=True, slots=True)
class _Product:
    """What is added to one layer.

    Attributes:
        down: `A`, `[rank, in]`.
        up: `B`, `[out, rank]`.
        scale: What their product is multiplied with.
    """

    down: torch.Tensor
    up: torch.Tensor
    scale: float

    def added(self, rows: torch.Tensor) -> torch.Tensor:
        """What is added to the layer's output for input rows `[..., in]`."""
        linear = nn.functional.linear
        return linear(linear(rows.to(self.down.dtype), self.down), self.up) * self.scale


@dataclass(frozen=True, slots=True, eq=False)
class LoadedAdapter:
    """An adapter in the model's memory.

    Attributes:
        products: What it adds, by layer.
        sees: Whether it changes layers outside of the text model, so that image features are its
            own.
        bytes: Size of its matrices.
    """

    products: dict[nn.Module, _Product]
    sees: bool
    bytes: int


Spans: TypeAlias = Sequence[tuple[LoadedAdapter | None, int]]
"""Consecutive rows of a step: the adapter of each, None for the base, and how many rows it has."""


class Adapters:
    """The adapters of one model, least recently used first; all of them share its weights."""

    def __init__(
        self, model: nn.Module, text_model: nn.Module, like: torch.Tensor, limit: int
    ) -> None:
        """Takes a loaded model; its layers get their hooks when the first adapter needs them.

        Args:
            model: The whole model.
            text_model: The part of it that runs over packed batches.
            like: A tensor of the model's type on its device.
            limit: Maximum bytes of adapters that no request uses.
        """
        self._layers = {
            name: module
            for name, module in model.named_modules()
            if _shape(module) is not None and _ROUTED not in name.split(".")
        }
        self._names = Names(self._layers)
        self._text = frozenset(text_model.modules())
        self._like = like
        self._loaded = Lru[LoraAdapter, LoadedAdapter](limit)
        self._loading = threading.Lock()
        self._hooked: set[nn.Module] = set()
        self._groups: list[tuple[LoadedAdapter, torch.Tensor | None]] = []

    @property
    def held_bytes(self) -> int:
        """Size of the adapters that are kept."""
        return self._loaded.size_bytes

    def get(self, adapter: LoraAdapter) -> LoadedAdapter:
        """Returns an adapter, which is read from its folder unless it is kept; thread-safe.

        One that is evicted stays in memory until the last request that uses it has ended.

        Raises:
            ConfigError: It is damaged, or does not fit the model.
        """
        with self._loading:
            found = self._loaded.get(adapter)
            if found is None:
                found = self._read(Path(adapter.folder))
                self._loaded.put(adapter, found, found.bytes)
            return found

    @contextmanager
    def applied(self, spans: Spans) -> Iterator[bool]:
        """Adds adapters to the rows of all layers during the block; for the thread of the steps.

        Args:
            spans: The rows that layers get, in order. If all have one adapter, layers may get any
                number of rows.

        Yields:
            Whether there is any adapter.
        """
        self._groups = self._grouped(spans)
        try:
            yield bool(self._groups)
        finally:
            self._groups = []

    def _grouped(self, spans: Spans) -> list[tuple[LoadedAdapter, torch.Tensor | None]]:
        rows: dict[LoadedAdapter | None, list[int]] = {}
        start = 0
        for adapter, count in spans:
            rows.setdefault(adapter, []).extend(range(start, start + count))
            start += count
        groups = []
        for adapter, indices in rows.items():
            if adapter is not None:
                self._hook(adapter.products)
                device = self._like.device
                own = torch.tensor(indices, device=device) if len(rows) > 1 else None
                groups.append((adapter, own))
        return groups

    def _hook(self, layers: Iterable[nn.Module]) -> None:
        # Not when an adapter is read: that is another thread, while the layers may be running.
        for layer in layers:
            if layer not in self._hooked:
                self._hooked.add(layer)
                layer.register_forward_hook(self._add)

    def _add(
        self, layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor
    ) -> torch.Tensor:
        """Adds to the output of a layer what the adapters in use add to it."""
        for adapter, rows in self._groups:
            product = adapter.products.get(layer)
            if product is None:
                continue
            if rows is None:
                output = output + product.added(inputs[0]).to(output.dtype)
                continue
            own = inputs[0].flatten(0, -2)[rows]
            added = product.added(own).to(output.dtype)
            output = output.flatten(0, -2).index_add(0, rows, added).view(output.shape)
        return output

    def _read(self, folder: Path) -> LoadedAdapter:
        from safetensors.torch import load_file  # noqa: PLC0415 - as transformers imports it

        lora = read_lora(folder)
        if lora.whole:
            raise ConfigError(
                f"The adapter replaces whole layers, such as {next(iter(lora.whole))}, which "
                "cannot be shared with its base. Merge it: silkline merge ADAPTER --out MERGED."
            )
        tensors = load_file(folder / ADAPTER_WEIGHTS)
        products: dict[nn.Module, _Product] = {}
        for name, found in lora.layers.items():
            layer = self._layers[self._names.find(name)]
            check_shape(name, found.shape, _shape(layer) or ())
            down, up = (tensors[each].to(self._like) for each in (found.down, found.up))
            products[layer] = _Product(down, up, found.scale)
        held = sum(each.down.nbytes + each.up.nbytes for each in products.values())
        return LoadedAdapter(products, not products.keys() <= self._text, held)


def _shape(module: nn.Module) -> tuple[int, int] | None:
    """The shape `(out, in)` of a linear layer, however it computes; None for other modules."""
    columns, rows = getattr(module, "in_features", None), getattr(module, "out_features", None)
    return (rows, columns) if isinstance(rows, int) and isinstance(columns, int) else None
