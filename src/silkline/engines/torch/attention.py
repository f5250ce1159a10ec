"""Attention over a packed batch, which replaces the text model's own.

The text model sees one row of tokens, `[1, T]`: first one token of each decoding request, then the
prompt chunks. One copy writes all keys and values to their slots. Then the decoding tokens attend
together over a view of the slots, and each chunk attends over its own slot.

transformers calls `_attend` by its registered name with the attention module, to which `install`
has attached the batch. No mask function has that name, so the models build no masks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from silkline.engines.torch import delta_net
from silkline.engines.torch.layout import Layout, PromptChunk, additive
from silkline.engines.torch.slots import KvSlots, LayerShape, StateShape
from silkline.errors import ConfigError

NAME = "silkline_packed"
_ATTRIBUTE = "silkline_batch"


Score = Callable[..., torch.Tensor]
"""An attention function: `sdpa` or `eager`, which have the same signature."""


class PackedAttention:
    """Computes attention in all layers for the batch that `layout` describes."""

    def __init__(
        self,
        slots: KvSlots,
        prefill: Score,
        decode: Score,
        reads: Mapping[int, int] = MappingProxyType({}),
    ) -> None:
        """Creates the attention of a model.

        Args:
            slots: Stores keys and values.
            prefill: The attention function for prompt chunks.
            decode: The attention function for next tokens.
            reads: The layer whose keys and values a layer shares, for layers without own ones.
        """
        self._reads = reads
        self._slots = slots
        self._prefill_score = prefill
        self._decode_score = decode
        self.layout: Layout | None = None
        """The layout of the current step."""

    def __call__(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        form: Form,
    ) -> torch.Tensor:
        """Writes a layer's keys and values to the slots and computes its attention.

        Args:
            layer: The layer's index.
            query: `[1, heads, T, key_dim]`.
            key: `[1, kv_heads, T, key_dim]`.
            value: `[1, kv_heads, T, value_dim]`.
            form: The layer's attention parameters.

        Returns:
            `[1, T, heads, value_dim]`.
        """
        layout = self.layout
        if layout is None:
            raise RuntimeError("the text model was called outside of a step")
        source = self._reads.get(layer, layer)
        keys, values = self._slots.keys[source], self._slots.values[source]
        if source == layer:
            for storage, new in ((keys, key), (values, value)):
                rows = new[0].transpose(0, 1).reshape(-1, new.shape[3])
                storage.flatten(0, 2).index_copy_(0, layout.rows(storage), rows)
        parts = []
        if layout.decoding:
            parts.append(self._decode(layout, query, keys, values, form))
        for chunk in layout.chunks:
            parts.append(self._prefill(chunk, query, keys, values, form))  # noqa: PERF401 - clear
        return (parts[0] if len(parts) == 1 else torch.cat(parts)).unsqueeze(0)

    def _decode(
        self,
        layout: Layout,
        query: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        form: Form,
    ) -> torch.Tensor:
        """Attention of all decoding requests in one call; `[decoding, heads, value_dim]`.

        Query heads that share a KV head become rows of one query, so no key is copied.
        """
        count, kv_heads = layout.decoding, keys.shape[1]
        rows = query[0, :, :count].transpose(0, 1)
        rows = rows.reshape(count, kv_heads, -1, query.shape[3])
        attended = self._decode_score(
            rows,
            keys[:count, :, : layout.length],
            values[:count, :, : layout.length],
            mask=layout.masks[form.window],
            form=form,
        )
        return attended.flatten(1, 2)

    def _prefill(
        self,
        chunk: PromptChunk,
        query: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        form: Form,
    ) -> torch.Tensor:
        """Attention of a chunk over its prompt so far; `[end - start, heads, value_dim]`."""
        rows = query[:, :, chunk.row : chunk.row + chunk.end - chunk.start]
        attended = self._prefill_score(
            rows,
            keys[chunk.slot : chunk.slot + 1, :, : chunk.end],
            values[chunk.slot : chunk.slot + 1, :, : chunk.end],
            mask=chunk.mask(form.window, rows),
            form=form,
        )
        return attended[0].transpose(0, 1)

    def recur(self, layer: Any, hidden: torch.Tensor) -> torch.Tensor:
        """Computes a gated delta net layer, `[1, T, hidden]`, from and to the slots' states."""
        if self.layout is None:
            raise RuntimeError("the text model was called outside of a step")
        state = delta_net.State(*self._slots.states[int(layer.layer_idx)])
        return delta_net.mix(layer, hidden, self.layout, state)


@dataclass(frozen=True, slots=True)
class Form:
    """The attention parameters of a layer.

    Attributes:
        scaling: The factor that scores are multiplied by.
        window: Number of tokens that a token attends to, itself included; None means all.
        softcap: Scores become `softcap * tanh(score / softcap)`; None leaves them unchanged.
    """

    scaling: float
    window: int | None = None
    softcap: float | None = None


def sdpa(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    mask: torch.Tensor | None,
    form: Form,
) -> torch.Tensor:
    """Torch's fused attention; `eager` for layers with `softcap`, which it does not support.

    Args:
        query: `[N, heads, rows, key_dim]`.
        key: `[N, kv_heads, columns, key_dim]`; `heads` is a multiple of `kv_heads`.
        value: `[N, kv_heads, columns, value_dim]`.
        mask: Mask to add to the scores, broadcastable to `[N, heads, rows, columns]`; None means
            causal.
        form: The layer's attention parameters.

    Returns:
        `[N, heads, rows, value_dim]`.
    """
    if form.softcap is not None:
        return eager(query, key, value, mask=mask, form=form)
    groups = query.shape[1] // key.shape[1]
    if groups > 1 and mask is not None and query.is_cuda:
        # The fused CUDA kernels that accept a mask do not support grouped KV heads.
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    return nn.functional.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        is_causal=mask is None and query.shape[2] > 1,
        scale=form.scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )


def eager(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    mask: torch.Tensor | None,
    form: Form,
) -> torch.Tensor:
    """Computes the same as `sdpa` with plain matrix products, and softmax in float32.

    It is faster for next tokens on many CPUs (see `attention_choice`). It multiplies keys by
    queries, not queries by keys, as tall matrices are faster than wide ones.
    """
    count, heads, rows, _ = query.shape
    kv_heads, columns = key.shape[1], key.shape[2]
    shared = query.reshape(count * kv_heads, heads // kv_heads * rows, -1)
    scores = torch.bmm(key.flatten(0, 1), shared.transpose(1, 2)).transpose(1, 2)
    scores = scores.reshape(count, heads, rows, columns).float().mul_(form.scaling)
    if form.softcap is not None:
        scores = torch.tanh(scores / form.softcap) * form.softcap
    if mask is None:
        visible = torch.ones(rows, columns, dtype=torch.bool, device=query.device).tril()
        mask = additive(visible, query.dtype)
    weights = torch.softmax(scores.add_(mask), -1).to(query.dtype)
    weights = weights.reshape(count * kv_heads, heads // kv_heads * rows, columns)
    return torch.bmm(weights, value.flatten(0, 1)).reshape(count, heads, rows, -1)


@dataclass(slots=True)
class Probed:
    """Records the attention layers of a text model while it runs.

    Attributes:
        shapes: A token's cache entry in each layer that has one, by layer index.
        reads: For a layer without one, the earlier layer whose keys and values it gets.
        states: What each layer with a recurrent state keeps per request, by layer index.
        heads: Number of query heads of each layer, by layer index.
        windows: All sliding windows that the layers use; None for full attention.
    """

    shapes: dict[int, LayerShape] = field(default_factory=dict)
    reads: dict[int, int] = field(default_factory=dict)
    states: dict[int, tuple[StateShape, ...]] = field(default_factory=dict)
    heads: dict[int, int] = field(default_factory=dict)
    windows: set[int | None] = field(default_factory=set)
    _keys: dict[int, torch.Tensor] = field(default_factory=dict, init=False)

    def __call__(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        form: Form,
    ) -> torch.Tensor:
        """Records a layer; returns zeros `[1, T, heads, value_dim]`."""
        shared = [other for other, known in self._keys.items() if known is key]
        if shared:
            self.reads[layer] = shared[0]
        else:
            self._keys[layer] = key
            self.shapes[layer] = LayerShape(key.shape[1], key.shape[3], value.shape[3])
        self.heads[layer] = query.shape[1]
        self.windows.add(form.window)
        return query.new_zeros(1, query.shape[2], query.shape[1], value.shape[3])

    def recur(self, layer: Any, hidden: torch.Tensor) -> torch.Tensor:
        """Records a gated delta net layer; returns zeros `[1, T, hidden]`."""
        self.states[int(layer.layer_idx)] = delta_net.state_shapes(layer)
        return torch.zeros_like(hidden)


def install(text_model: nn.Module, batch: PackedAttention | Probed) -> None:
    """Makes a text model's layers compute their attention with `batch`."""
    ALL_ATTENTION_FUNCTIONS.register(NAME, _attend)
    config: Any = text_model.config
    config._attn_implementation = NAME  # noqa: SLF001 - transformers' own switch
    for module in text_model.modules():
        if hasattr(module, "layer_idx"):
            setattr(module, _ATTRIBUTE, batch)
        if delta_net.is_delta_net(module):
            module.forward = partial(_recur, batch, module)


def _recur(
    batch: PackedAttention | Probed, layer: nn.Module, hidden_states: torch.Tensor, **_: Any
) -> torch.Tensor:
    """Replaces the `forward` of a gated delta net layer."""
    return batch.recur(layer, hidden_states)


def _attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """The function that transformers calls; `attention_mask` is None (see the module)."""
    del attention_mask
    if options.get("s_aux") is not None:
        raise ConfigError(
            "The model's language model attends with sinks, which the torch engine does not "
            "support. Use the engine remote with a server that supports it, such as vLLM."
        )
    window = options.get("sliding_window")
    form = Form(float(options["scaling"]), window, options.get("softcap"))
    batch: PackedAttention | Probed = getattr(module, _ATTRIBUTE)
    return batch(int(module.layer_idx), query, key, value, form), None
