"""The attention of a packed batch, in the place of the text model's own.

The text model sees one row of tokens, `[1, T]`: first one token of each request that generates,
then the pieces of prompts. Here they part: all keys and values go to their slots in one copy, the
generating tokens attend together over a view of the slots, and each piece over its own.

transformers calls `_attend` by its registered name with the attention module, on which `install`
has put the batch. As the name has no entry among the mask functions, the models build no masks.
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
class Piece:
    """A piece of a prompt within the packed batch.

    Attributes:
        row: Where it begins in the batch.
        slot: The slot of its request.
        start: Its first token within the prompt.
        end: One past its last.
        blocks: Ranges of the prompt that attend to each other both ways.
    """

    row: int
    slot: int
    start: int
    end: int
    blocks: tuple[tuple[int, int], ...] = ()
    _masks: dict[int | None, torch.Tensor | None] = field(default_factory=dict, init=False)

    def mask(self, window: int | None, like: torch.Tensor) -> torch.Tensor | None:
        """What is added to the scores, `[end - start, end]`; None where it is plainly causal.

        Args:
            window: How many tokens back a token sees, itself included; None for all.
            like: Gives the type and the device.
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
        seen = _seen(torch.arange(self.start, self.end, device=like.device), self.end, window)
        for start, end in inside:
            seen[start - self.start : end - self.start, start:end] = True
        return _additive(seen, like.dtype)


@dataclass(eq=False, slots=True)
class Layout:
    """What stands where in a packed batch.

    Attributes:
        slots: The slot of each token's request, int64 `[T]`.
        places: Where in the slot its key and value go, int64 `[T]`.
        decoding: How many of the first tokens are next tokens, of slots 0, 1, 2, ...
        length: How many tokens of the slots these may see.
        masks: By the layer's window, what is added to their scores, `[decoding, 1, 1, length]`.
        pieces: The pieces of prompts, which follow.
    """

    slots: torch.Tensor
    places: torch.Tensor
    decoding: int = 0
    length: int = 0
    masks: dict[int | None, torch.Tensor] = field(default_factory=dict)
    chunks: Sequence[Piece] = ()
    _rows: dict[int, torch.Tensor] = field(default_factory=dict, init=False)

    def rows(self, storage: torch.Tensor) -> torch.Tensor:
        """Which rows of a layer's keys or values are written, for each token and each KV head.

        Args:
            storage: `[count, kv_heads, length, dim]`, as if flattened to rows.

        Returns:
            Int64 `[T * kv_heads]`.
        """
        _, kv_heads, length, _ = storage.shape
        if kv_heads not in self._rows:
            heads = torch.arange(kv_heads, device=self.slots.device)
            rows = (self.slots.unsqueeze(1) * kv_heads + heads) * length + self.places.unsqueeze(1)
            self._rows[kv_heads] = rows.flatten()
        return self._rows[kv_heads]


Score = Callable[..., torch.Tensor]
"""`sdpa` or `eager`, which have the same arguments."""


class PackedAttention:
    """Attends for all layers; `layout` says what the batch of this step is."""

    def __init__(self, slots: KvSlots, prefill: Score, decode: Score) -> None:
        """Makes the attention of a model.

        Args:
            slots: Where its keys and values are.
            prefill: Scores pieces of prompts.
            decode: Scores next tokens.
        """
        self._slots = slots
        self._prefill_score = prefill
        self._decode_score = decode
        self.layout: Layout | None = None
        """Of the step that runs."""

    def __call__(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        form: Form,
    ) -> torch.Tensor:
        """Writes the keys and values of a layer and attends.

        Args:
            layer: Which.
            query: `[1, heads, T, key_dim]`.
            key: `[1, kv_heads, T, key_dim]`.
            value: `[1, kv_heads, T, value_dim]`.
            form: How the layer attends.

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
        """All that generate in one call; `[decoding, heads, value_dim]`.

        The query heads that share a KV head stand as rows of one query, so no key is copied.
        """
        count, kv_heads = layout.decoding, keys.shape[1]
        rows = query[0, :, :count].transpose(0, 1)
        rows = rows.reshape(count, kv_heads, -1, query.shape[3])
        seen = self._decode_score(
            rows,
            keys[:count, :, : layout.length],
            values[:count, :, : layout.length],
            mask=layout.masks[form.window],
            form=form,
        )
        return seen.flatten(1, 2)

    def _prefill(
        self,
        chunk: Piece,
        query: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        form: Form,
    ) -> torch.Tensor:
        """One piece over its prompt so far; `[end - start, heads, value_dim]`."""
        rows = query[:, :, chunk.row : chunk.row + chunk.end - chunk.start]
        seen = self._prefill_score(
            rows,
            keys[chunk.slot : chunk.slot + 1, :, : chunk.end],
            values[chunk.slot : chunk.slot + 1, :, : chunk.end],
            mask=chunk.mask(form.window, rows),
            form=form,
        )
        return seen[0].transpose(0, 1)


@dataclass(frozen=True, slots=True)
class Form:
    """How a layer attends.

    Attributes:
        scaling: What scores are multiplied by.
        window: How many tokens back a token sees, itself included; None for all.
        softcap: Scores are squashed into plus and minus this; None leaves them.
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
    """Torch's fused attention; `eager` where scores are squashed, which it cannot do.

    Args:
        query: `[N, heads, rows, key_dim]`.
        key: `[N, kv_heads, columns, key_dim]`; `heads` is a multiple of `kv_heads`.
        value: `[N, kv_heads, columns, value_dim]`.
        mask: What is added to the scores, of a shape that spreads to `[N, heads, rows, columns]`;
            None is causal.
        form: How the layer attends.

    Returns:
        `[N, heads, rows, value_dim]`.
    """
    if form.softcap is not None:
        return eager(query, key, value, mask=mask, form=form)
    groups = query.shape[1] // key.shape[1]
    if groups > 1 and mask is not None and query.is_cuda:
        # The fused CUDA kernels that take a mask do not share KV heads.
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
    """The same as `sdpa`, spelled out; softmax in float32.

    It is the faster one for next tokens on many CPUs (see `choosing`). Keys times queries, not
    queries times keys, as matrices should be tall rather than wide.
    """
    count, heads, rows, _ = query.shape
    kv_heads, columns = key.shape[1], key.shape[2]
    shared = query.reshape(count * kv_heads, heads // kv_heads * rows, -1)
    scores = torch.bmm(key.flatten(0, 1), shared.transpose(1, 2)).transpose(1, 2)
    scores = scores.reshape(count, heads, rows, columns).float().mul_(form.scaling)
    if form.softcap is not None:
        scores = torch.tanh(scores / form.softcap) * form.softcap
    if mask is None:
        seen = torch.ones(rows, columns, dtype=torch.bool, device=query.device).tril()
        mask = _additive(seen, query.dtype)
    weights = torch.softmax(scores.add_(mask), -1).to(query.dtype)
    weights = weights.reshape(count * kv_heads, heads // kv_heads * rows, columns)
    return torch.bmm(weights, value.flatten(0, 1)).reshape(count, heads, rows, -1)


def decode_mask(
    last: torch.Tensor, length: int, window: int | None, dtype: torch.dtype
) -> torch.Tensor:
    """What each generating request sees of its slot; `[B, 1, 1, length]`.

    Args:
        last: The place of its newest token, int64 `[B]`.
        length: How many tokens of the slots are looked at.
        window: Of the layer.
        dtype: Of the scores.
    """
    return _additive(_seen(last, length, window), dtype)[:, None, None, :]


def _seen(places: torch.Tensor, length: int, window: int | None) -> torch.Tensor:
    """Which of the first `length` tokens those at `places` see; bool `[places, length]`."""
    columns = torch.arange(length, device=places.device)
    rows = places.unsqueeze(1)
    seen = columns <= rows
    if window is not None:
        seen &= columns > rows - window
    return seen


def _additive(seen: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Zero where something is seen, minus infinity elsewhere."""
    zeros = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
    return zeros.masked_fill_(~seen, float("-inf"))


@dataclass(slots=True)
class Probed:
    """What the text model's layers turned out to be.

    Attributes:
        shapes: What a token takes in each layer, by its number.
        heads: The query heads of each, likewise.
        windows: The windows that there are.
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
        """Notes a layer; `[1, T, heads, value_dim]` of nothing."""
        self.shapes[layer] = LayerShape(key.shape[1], key.shape[3], value.shape[3])
        self.heads[layer] = query.shape[1]
        self.windows.add(form.window)
        return query.new_zeros(1, query.shape[2], query.shape[1], value.shape[3])


def probe(text_model: nn.Module, hidden: torch.Tensor, positions: torch.Tensor) -> Probed:
    """Runs one token through a text model to see its layers.

    Args:
        text_model: See `Family.text_model`.
        hidden: A token's input, `[1, 1, hidden]`.
        positions: Its positions, as the text model takes them.

    Raises:
        ConfigError: They attend in a way that is not known here.
    """
    probed = Probed()
    install(text_model, probed)
    text_model(
        inputs_embeds=hidden,
        position_ids=positions,
        attention_mask=None,
        past_key_values=None,
        use_cache=False,
    )
    return probed


def install(text_model: nn.Module, batch: PackedAttention | Probed) -> None:
    """Lets a text model's layers attend by `batch`."""
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
    """What transformers calls; `attention_mask` is None, as no mask function has the name."""
    del attention_mask
    if options.get("s_aux") is not None:
        raise ConfigError(
            "The model's language model attends with sinks, which the torch engine does not know. "
            "Use the engine remote with a server that has it, such as vLLM."
        )
    window = options.get("sliding_window")
    form = Form(float(options["scaling"]), window, options.get("softcap"))
    batch: PackedAttention | Probed = getattr(module, _ATTRIBUTE)
    return batch(int(module.layer_idx), query, key, value, form), None
