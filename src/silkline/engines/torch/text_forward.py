"""Calls the text model over a packed batch."""

from __future__ import annotations

import torch

from silkline.engines.torch.attention import PackedAttention, Probed, install
from silkline.engines.torch.families.base import Family
from silkline.engines.torch.layout import Layout


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
        inputs: Input of the text model, `[T, width]`; see `Family.embed`.
        positions: Positions of the tokens, int64 `[P, T]`.
    """
    attention.layout = layout
    return _run(family, inputs, positions)


def probe(family: Family, inputs: torch.Tensor, positions: torch.Tensor) -> Probed:
    """Runs one token through a text model to find out about its layers.

    Args:
        family: The model.
        inputs: A token's input, `[1, width]`.
        positions: The token's positions, int64 `[P, 1]`.

    Raises:
        ConfigError: The layers use a kind of attention that is not supported.
    """
    probed = Probed()
    install(family.text_model, probed)
    _run(family, inputs, positions)
    return probed


def _run(family: Family, inputs: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    output = family.text_model(
        **family.text_arguments(inputs),
        # Three rows of positions have a batch dimension of their own: `[3, 1, T]`.
        position_ids=positions if positions.shape[0] == 1 else positions.unsqueeze(1),
        attention_mask=None,
        use_cache=False,
    )
    hidden: torch.Tensor = output.last_hidden_state[0]
    return hidden
