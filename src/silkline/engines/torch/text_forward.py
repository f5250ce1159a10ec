"""Calls the text model over a packed batch."""

from __future__ import annotations

import torch

from silkline.engines.torch.attention import Layout, PackedAttention
from silkline.engines.torch.families.base import Family


def forward(
    family: Family,
    attention: PackedAttention,
    layout: Layout,
    inputs: torch.Tensor,
    positions: torch.Tensor,
) -> torch.Tensor:
    """Returns the hidden states of a packed batch, `[T, hidden]`, after the last norm.

    Args:
        family: The model.
        attention: The attention that its layers call.
        layout: The layout of the batch.
        inputs: Input of the text model, `[T, hidden]`.
        positions: Positions of the tokens, int64 `[P, T]`.
    """
    attention.layout = layout
    output = family.text_model(
        inputs_embeds=inputs.unsqueeze(0),
        position_ids=as_taken(positions),
        attention_mask=None,
        past_key_values=None,
        use_cache=False,
    )
    hidden: torch.Tensor = output.last_hidden_state[0]
    return hidden


def as_taken(positions: torch.Tensor) -> torch.Tensor:
    """Reshapes positions `[P, T]` for text models: `[1, T]`, or `[3, 1, T]` for three rows."""
    return positions if positions.shape[0] == 1 else positions.unsqueeze(1)
