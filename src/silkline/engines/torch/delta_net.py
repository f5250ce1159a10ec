"""Runs gated delta net layers over a packed batch, with a state per slot instead of a cache.

Such a layer (Qwen3.5) keeps no keys and values. Per request it has the last inputs of a short
convolution and one matrix per head, which every token updates. All tokens of a step share the
layer's projections; the next tokens of decoding requests are one batch of sequences of one token,
and each prompt chunk is a sequence that continues from its slot's state.

The layers are transformers' own (models/qwen3_5); this replaces their `forward`.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers.activations import ACT2FN

from silkline.engines.torch.layout import Layout
from silkline.engines.torch.slots import StateShape

_WEIGHTS = ("in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a", "conv1d", "A_log", "dt_bias")


class State(NamedTuple):
    """The state of a layer in all slots.

    Attributes:
        convolved: The last inputs of the convolution, `[count, channels, kernel - 1]`.
        memory: The matrices of the heads, float32 `[count, heads, key_dim, value_dim]`.
    """

    convolved: torch.Tensor
    memory: torch.Tensor


def is_delta_net(module: nn.Module) -> bool:
    """Whether a module is a layer that this one runs."""
    return all(hasattr(module, name) for name in _WEIGHTS)


def state_shapes(layer: Any) -> tuple[StateShape, StateShape]:
    """Returns the shapes of a layer's `State` in one slot."""
    channels, kernel = layer.conv1d.weight.shape[0], layer.conv1d.weight.shape[2]
    heads = (layer.num_v_heads, layer.head_k_dim, layer.head_v_dim)
    return (
        StateShape((channels, kernel - 1), layer.conv1d.weight.dtype),
        StateShape(heads, torch.float32),
    )


def mix(layer: Any, hidden: torch.Tensor, layout: Layout, state: State) -> torch.Tensor:
    """Computes a layer's output `[1, T, hidden]` for its input, and updates the state in place."""
    rows = hidden[0]
    projected = layer.in_proj_qkv(rows)
    beta = layer.in_proj_b(rows).sigmoid()
    decay = -layer.A_log.float().exp() * nn.functional.softplus(
        layer.in_proj_a(rows).float() + layer.dt_bias
    )
    parts = []
    # Where a part's tokens are, as how many sequences, and the slots of these.
    spans = [(slice(0, layout.decoding), layout.decoding, slice(0, layout.decoding))]
    spans = spans if layout.decoding else []
    for chunk in layout.chunks:
        span = slice(chunk.row, chunk.row + chunk.end - chunk.start)
        spans.append((span, 1, slice(chunk.slot, chunk.slot + 1)))
    for span, count, slots in spans:
        own = State(state.convolved[slots], state.memory[slots])
        part, rate, share = (
            torch.unflatten(tensor[span], 0, (count, -1)) for tensor in (projected, decay, beta)
        )
        parts.append(_attend(layer, part, rate, share, own).flatten(0, 1))
    gate = layer.in_proj_z(rows).view(-1, layer.head_v_dim)
    mixed = layer.norm(torch.cat(parts).view(-1, layer.head_v_dim), gate)
    out: torch.Tensor = layer.out_proj(mixed.view(len(rows), -1))
    return out.unsqueeze(0)


def _attend(
    layer: Any, projected: torch.Tensor, decay: torch.Tensor, beta: torch.Tensor, state: State
) -> torch.Tensor:
    """Continues sequences `[N, n, ...]` from their states; `[N, n, heads, value_dim]`."""
    weight = layer.conv1d.weight
    seen = torch.cat((state.convolved, projected.transpose(1, 2)), 2)
    state.convolved.copy_(seen[:, :, -state.convolved.shape[2] :])
    mixed = nn.functional.conv1d(seen, weight, layer.conv1d.bias, groups=weight.shape[0])
    mixed = ACT2FN[layer.activation](mixed).transpose(1, 2)
    query, key, value = torch.split(mixed, [layer.key_dim, layer.key_dim, layer.value_dim], 2)
    shared = layer.num_v_heads // layer.num_k_heads
    query, key = (
        torch.unflatten(tensor, 2, (layer.num_k_heads, -1)).repeat_interleave(shared, 2)
        for tensor in (query, key)
    )
    source: Any = sys.modules[type(layer).__module__]
    one = projected.shape[1] == 1
    rule = source.torch_recurrent_gated_delta_rule if one else source.torch_chunk_gated_delta_rule
    attended: torch.Tensor
    attended, memory = rule(
        query,
        key,
        torch.unflatten(value, 2, (layer.num_v_heads, -1)),
        g=decay,
        beta=beta,
        initial_state=state.memory,
        output_final_state=True,
        use_qk_l2norm_in_kernel=True,
    )
    state.memory.copy_(memory)
    return attended
