"""Samples the next tokens of a batch on the device.

A request's token depends only on its own logits, settings and random draw, never on the rest of the
batch: the draw is a hash of the request's seed and the token's index.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from silkline.engines.sampling import GREEDY_BELOW


@dataclass(frozen=True, slots=True)
class Draw:
    """How to sample one row of logits.

    Attributes:
        temperature: 0 takes the most likely token.
        top_p: Only the most likely tokens whose probabilities add up to this are candidates; above
            0, at most 1.
        chance: A random number from 0 to below 1: the token's position in the cumulative
            distribution.
    """

    temperature: float
    top_p: float = 1.0
    chance: float = 0.0

    @property
    def greedy(self) -> bool:
        """Whether the most likely token is taken, without randomness."""
        return self.temperature < GREEDY_BELOW


NO_TOKEN = -1
"""Returned instead of a token id if the logits are not finite."""


def choose(logits: torch.Tensor, draws: Sequence[Draw]) -> torch.Tensor:
    """Samples the next token of each row.

    Args:
        logits: `[N, vocabulary]`, any floating type; minus infinity for forbidden tokens.
        draws: The sampling settings of each row.

    Returns:
        Token ids, int64 `[N]`, on the logits' device; `NO_TOKEN` for rows that contain NaN or plus
        infinity, or only minus infinity.
    """
    ids = _argmax(logits)
    # The maximum of a row is NaN if any of its logits is.
    usable = logits.gather(1, ids.unsqueeze(1)).squeeze(1).isfinite()
    for nucleus in (False, True):
        rows = [
            row
            for row, draw in enumerate(draws)
            if not draw.greedy and (draw.top_p < 1.0) is nucleus
        ]
        if rows:
            indices = torch.tensor(rows, device=logits.device)
            row_draws = [draws[row] for row in rows]
            ids[indices] = _sample(logits[indices], row_draws, nucleus=nucleus)
    return ids.masked_fill_(~usable, NO_TOKEN)


def _argmax(logits: torch.Tensor) -> torch.Tensor:
    """The index of the first maximum in each row; int64 `[N]`."""
    if logits.is_cuda:
        return logits.argmax(-1)
    # Torch searches without vector instructions: numpy takes a tenth of its time.
    return torch.from_numpy(logits.float().numpy().argmax(-1))


def _sample(logits: torch.Tensor, draws: Sequence[Draw], *, nucleus: bool) -> torch.Tensor:
    """Inverts the cumulative distribution at each row's `chance`; int64 `[N]`."""
    settings = torch.tensor(
        [(draw.temperature, draw.top_p, draw.chance) for draw in draws],
        dtype=torch.float32,
        device=logits.device,
    )
    temperature, top_p, draw = settings[:, 0:1], settings[:, 1:2], settings[:, 2:3]
    probabilities = torch.softmax(logits.float() / temperature, -1)
    order = None
    if nucleus:
        probabilities, order = torch.sort(probabilities, dim=-1, descending=True, stable=True)
        before = probabilities.cumsum(-1) - probabilities
        probabilities = probabilities.masked_fill(before >= top_p, 0.0)
    cumulative = probabilities.cumsum(-1)
    target = draw * cumulative[:, -1:]
    # The first token at which the sum passes the target; despite rounding, none after the last
    # token with a probability above 0.
    last = (probabilities > 0).to(torch.int64).mul_(_indices(probabilities)).amax(-1, keepdim=True)
    index = torch.searchsorted(cumulative, target, right=True).minimum(last)
    if order is not None:
        index = order.gather(-1, index)
    return index.squeeze(-1)


def _indices(rows: torch.Tensor) -> torch.Tensor:
    """Indices 0, 1, 2, ... along the last dimension; int64."""
    return torch.arange(rows.shape[-1], device=rows.device)
