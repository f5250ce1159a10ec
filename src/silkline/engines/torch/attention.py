"""Attention over a packed batch, which replaces the text model's own.

The text model sees one row of tokens, `[1, T]`: first one token of each decoding request, then the
prompt chunks. One copy writes all keys and values to their slots. Then the decoding tokens attend
together over a view of the slots, and each chunk attends over its own slot.

transformers calls `_attend` by its registered name with the attention module, to which `install`
has attached the batch. No mask function has that name, so the models build no masks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from silkline.engines.torch.slots import KvSlots, LayerShape
from silkline.errors import ConfigError

NAME = "silkline_packed"
_ATTRIBUTE = "silkline_batch"


@dataclass(eq=False, slots=True)
class PromptChunk:
    """A chunk of a prompt in the packed batch.

    Attributes:
        row: Index of its first token in the batch.
        slot: The slot of its request.
        start: Index of its first token in the prompt.
        end: Index after its last token in the prompt.
        blocks: Ranges `[start, end)` of the prompt with bidirectional attention inside.
    """

    row: int
    slot: int
    start: int
    end: int
    blocks: tuple[tuple[int, int], ...] = ()
    _masks: dict[int | None, torch.Tensor | None] = field(default_factory=dict, init=False)

    def mask(self, window: int | None, like: torch.Tensor) -> torch.Tensor | None:
        """Returns the mask to add to the scores, `[end - start, end]`; None means causal.

        Args:
            window: Number of tokens that a token attends to, itself included; None means all.
            like: A tensor with the type and device of the mask.
        """
        if window is not None and self.end <= window:
            window = None
        if window not in self._masks:
            self._masks[window] = self._build(window, like)
        return self._masks[window]

    def _build(self, window: int | None, like: torch.Tensor) -> torch.Tensor | None:
        inside = [block for block in self.blocks if self.start <= block[0] < self.end]
        if window is None and not inside and self.start == 0:
            return None
        rows = torch.arange(self.start, self.end, device=like.device)
        visible = _visible(rows, self.end, window)
        for start, end in inside:
            visible[start - self.start : end - self.start, start:end] = True
        return _additive(visible, like.dtype)


@dataclass(eq=False, slots=True)
class Layout:
    """The layout of a packed batch.

    Attributes:
        slots: The slot of each token's request, int64 `[T]`.
        offsets: The index of each token in its slot, int64 `[T]`.
        decoding: Number of decoding requests, in the slots 0, 1, 2, ...; their tokens come first.
        length: Number of tokens in each slot that decoding requests read.
        masks: Masks to add to their scores, `[decoding, 1, 1, length]`, by the layer's window.
        chunks: The prompt chunks, whose tokens follow.
    """

    slots: torch.Tensor
    offsets: torch.Tensor
    decoding: int = 0
    length: int = 0
    masks: dict[int | None, torch.Tensor] = field(default_factory=dict)
    chunks: Sequence[PromptChunk] = ()
    _rows: dict[int, torch.Tensor] = field(default_factory=dict, init=False)

    def rows(self, storage: torch.Tensor) -> torch.Tensor:
        """Returns the indices of the rows to write, for each token and each KV head.

        Args:
            storage: A layer's keys or values as rows of `dim`: `[count, kv_heads, length, dim]`.

        Returns:
            Int64 `[T * kv_heads]`.
        """
        _, kv_heads, length, _ = storage.shape
        if kv_heads not in self._rows:
            heads = torch.arange(kv_heads, device=self.slots.device)
            starts = (self.slots.unsqueeze(1) * kv_heads + heads) * length
            self._rows[kv_heads] = (starts + self.offsets.unsqueeze(1)).flatten()
        return self._rows[kv_heads]


Score = Callable[..., torch.Tensor]
"""An attention function: `sdpa` or `eager`, which have the same signature."""


class PackedAttention:
    """Computes attention in all layers for the batch that `layout` describes."""

    def __init__(self, slots: KvSlots, prefill: Score, decode: Score) -> None:
        """Creates the attention of a model.

        Args:
            slots: Stores keys and values.
            prefill: The attention function for prompt chunks.
            decode: The attention function for next tokens.
        """
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
        keys, values = self._slots.keys[layer], self._slots.values[layer]
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
        mask = _additive(visible, query.dtype)
    weights = torch.softmax(scores.add_(mask), -1).to(query.dtype)
    weights = weights.reshape(count * kv_heads, heads // kv_heads * rows, columns)
    return torch.bmm(weights, value.flatten(0, 1)).reshape(count, heads, rows, -1)


def decode_mask(
    last: torch.Tensor, length: int, window: int | None, dtype: torch.dtype
) -> torch.Tensor:
    """Returns the mask of decoding requests over their slots, `[B, 1, 1, length]`.

    Args:
        last: The index of each request's newest token in its slot, int64 `[B]`.
        length: Number of tokens of each slot that are read.
        window: The layer's sliding window; None means all tokens.
        dtype: Type of the scores.
    """
    return _additive(_visible(last, length, window), dtype)[:, None, None, :]


def _visible(indices: torch.Tensor, length: int, window: int | None) -> torch.Tensor:
    """Which of the first `length` tokens each token attends to; bool `[indices, length]`."""
    columns = torch.arange(length, device=indices.device)
    rows = indices.unsqueeze(1)
    visible = columns <= rows
    if window is not None:
        visible &= columns > rows - window
    return visible


def _additive(visible: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Converts a boolean mask to an additive one: zero where visible, minus infinity elsewhere."""
    zeros = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
    return zeros.masked_fill_(~visible, float("-inf"))


@dataclass(slots=True)
class Probed:
    """Records the attention layers of a text model while it runs.

    Attributes:
        shapes: A token's cache entry in each layer, by layer index.
        heads: Number of query heads of each layer, by layer index.
        windows: All sliding windows that the layers use; None for full attention.
    """

    shapes: dict[int, LayerShape] = field(default_factory=dict)
    heads: dict[int, int] = field(default_factory=dict)
    windows: set[int | None] = field(default_factory=set)

    def __call__(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        form: Form,
    ) -> torch.Tensor:
        """Records a layer; returns zeros `[1, T, heads, value_dim]`."""
        self.shapes[layer] = LayerShape(key.shape[1], key.shape[3], value.shape[3])
        self.heads[layer] = query.shape[1]
        self.windows.add(form.window)
        return query.new_zeros(1, query.shape[2], query.shape[1], value.shape[3])


def install(text_model: nn.Module, batch: PackedAttention | Probed) -> None:
    """Makes a text model's layers compute their attention with `batch`."""
    ALL_ATTENTION_FUNCTIONS.register(NAME, _attend)
    config: Any = text_model.config
    config._attn_implementation = NAME  # noqa: SLF001 - transformers' own switch
    for module in text_model.modules():
        if hasattr(module, "layer_idx"):
            setattr(module, _ATTRIBUTE, batch)


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
