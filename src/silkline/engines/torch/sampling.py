"""Samples the next tokens of a batch on the device.

A request's token depends only on its own logits, settings and random draw, never on the rest of the
batch: the draw is a hash of the request's seed and the token's index.

The order is: penalties, biases and forbidden tokens (see `penalties`), then temperature, `top_k`,
`top_p` over what `top_k` leaves, and `min_p`.
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
        top_k: Only this many of the most likely tokens are candidates; 0 means all.
        min_p: Only tokens with at least this share of the highest probability are candidates.
    """

    temperature: float
    top_p: float = 1.0
    chance: float = 0.0
    top_k: int = 0
    min_p: float = 0.0

    def ranks(self, vocabulary: int) -> bool:
        """Whether the order of the tokens decides which are candidates."""
        return self.top_p < 1.0 or 0 < self.top_k < vocabulary

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
    for ranked in (False, True):
        rows = [
            row
            for row, draw in enumerate(draws)
            if not draw.greedy and draw.ranks(logits.shape[1]) is ranked
        ]
        if rows:
            indices = torch.tensor(rows, device=logits.device)
            row_draws = [draws[row] for row in rows]
            ids[indices] = _sample(logits[indices], row_draws, ranked=ranked)
    return ids.masked_fill_(~usable, NO_TOKEN)


def _argmax(logits: torch.Tensor) -> torch.Tensor:
    """The index of the first maximum in each row; int64 `[N]`."""
    if logits.is_cuda:
        return logits.argmax(-1)
    # Torch searches without vector instructions: numpy takes a tenth of its time.
    return torch.from_numpy(logits.float().numpy().argmax(-1))


def _sample(logits: torch.Tensor, draws: Sequence[Draw], *, ranked: bool) -> torch.Tensor:
    """Inverts the cumulative distribution at each row's `chance`; int64 `[N]`."""
    settings = torch.tensor(
        [(draw.temperature, draw.top_p, draw.chance, draw.min_p) for draw in draws],
        dtype=torch.float32,
        device=logits.device,
    )
    temperature, top_p, draw, min_p = settings.T.unsqueeze(-1)
    probabilities = torch.softmax(logits.float() / temperature, -1)
    order = None
    if ranked:
        probabilities, order = torch.sort(probabilities, dim=-1, descending=True, stable=True)
        probabilities = _nucleus(_first(probabilities, draws), top_p)
    if any(draw.min_p for draw in draws):
        threshold = min_p * probabilities.amax(-1, keepdim=True)
        probabilities = probabilities.masked_fill(probabilities < threshold, 0.0)
    cumulative = probabilities.cumsum(-1)
    target = draw * cumulative[:, -1:]
    # The first token at which the sum passes the target; despite rounding, none after the last
    # token with a probability above 0.
    last = (probabilities > 0).to(torch.int64).mul_(_indices(probabilities)).amax(-1, keepdim=True)
    index = torch.searchsorted(cumulative, target, right=True).minimum(last)
    if order is not None:
        index = order.gather(-1, index)
    return index.squeeze(-1)


def _first(probabilities: torch.Tensor, draws: Sequence[Draw]) -> torch.Tensor:
    """Keeps the first `top_k` of sorted probabilities; the others become 0."""
    count = probabilities.shape[-1]
    if not any(0 < draw.top_k < count for draw in draws):
        return probabilities
    kept = torch.tensor([[min(draw.top_k or count, count)] for draw in draws])
    outside = _indices(probabilities) >= kept.to(probabilities.device)
    return probabilities.masked_fill(outside, 0.0)


def _nucleus(probabilities: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """Keeps the first of sorted probabilities until their share of the sum reaches `top_p`."""
    sums = probabilities.cumsum(-1)
    return probabilities.masked_fill(sums - probabilities >= top_p * sums[:, -1:], 0.0)


def _indices(rows: torch.Tensor) -> torch.Tensor:
    """Indices 0, 1, 2, ... along the last dimension; int64."""
    return torch.arange(rows.shape[-1], device=rows.device)
