"""Choosing the next tokens of a batch on the device.

A request's token depends on its own logits, its own settings and its own draw alone, never on what
else is in the batch: the draw is a hash of the request's seed and the token's number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from silkline.engines.sampling import GREEDY_BELOW, SEED_BITS


@dataclass(frozen=True, slots=True)
class Draw:
    """How one row is sampled.

    Attributes:
        temperature: 0 takes the likeliest token.
        top_p: Only the likeliest tokens whose probabilities reach this sum are taken; above 0, at
            most 1.
        chance: From 0, below 1; where in the distribution the token lies.
    """

    temperature: float
    top_p: float = 1.0
    chance: float = 0.0

    @property
    def greedy(self) -> bool:
        """Whether chance has no part in it."""
        return self.temperature < GREEDY_BELOW


NO_TOKEN = -1
"""In the place of a token where the logits are no numbers."""


def chance(seed: int, place: int) -> float:
    """The draw, from 0 to below 1, for token `place` of a request whose `seed_of` this is.

    It has 24 bits, which float32 holds exactly: rounded to 1 it would choose the unlikeliest token.
    """
    key = seed.to_bytes(SEED_BITS // 8)
    digest = hashlib.blake2b(place.to_bytes(8), key=key, digest_size=8).digest()
    return (int.from_bytes(digest) >> 40) / (1 << 24)


def choose(logits: torch.Tensor, draws: Sequence[Draw]) -> torch.Tensor:
    """The next token of each row.

    Args:
        logits: `[N, vocabulary]`, any floating type; minus infinity for what must not come.
        draws: One a row.

    Returns:
        Token ids, int64 `[N]`, on the logits' device; `NO_TOKEN` for rows that hold a logit that is
        not a number, or plus infinity, or nothing but minus infinity.
    """
    ids = _likeliest(logits)
    # The greatest is not a number where any is none.
    usable = logits.gather(1, ids.unsqueeze(1)).squeeze(1).isfinite()
    for nucleus in (False, True):
        rows = [
            row
            for row, draw in enumerate(draws)
            if not draw.greedy and (draw.top_p < 1.0) is nucleus
        ]
        if rows:
            places = torch.tensor(rows, device=logits.device)
            chosen = [draws[row] for row in rows]
            ids[places] = _sample(logits[places], chosen, nucleus=nucleus)
    return ids.masked_fill_(~usable, NO_TOKEN)


def _likeliest(logits: torch.Tensor) -> torch.Tensor:
    """The first of the greatest of each row; int64 `[N]`."""
    if logits.is_cuda:
        return logits.argmax(-1)
    # Torch searches row by row without vector instructions: numpy takes a tenth of its time.
    return torch.from_numpy(logits.float().numpy().argmax(-1))


def _sample(logits: torch.Tensor, draws: Sequence[Draw], *, nucleus: bool) -> torch.Tensor:
    """Inverts the cumulative distribution at each row's chance; int64 `[N]`."""
    settings = torch.tensor(
        [(draw.temperature, draw.top_p, draw.chance) for draw in draws],
        dtype=torch.float32,
        device=logits.device,
    )
    temperature, top_p, where = settings[:, 0:1], settings[:, 1:2], settings[:, 2:3]
    chances = torch.softmax(logits.float() / temperature, -1)
    order = None
    if nucleus:
        chances, order = torch.sort(chances, dim=-1, descending=True, stable=True)
        before = chances.cumsum(-1) - chances
        chances = chances.masked_fill(before >= top_p, 0.0)
    reached = chances.cumsum(-1)
    target = where * reached[:, -1:]
    # The first token at which the sum passes the target; rounding must not lead past the last one
    # that can come.
    last = (chances > 0).to(torch.int64).mul_(_numbers(chances)).amax(-1, keepdim=True)
    place = torch.searchsorted(reached, target, right=True).minimum(last)
    if order is not None:
        place = order.gather(-1, place)
    return place.squeeze(-1)


def _numbers(rows: torch.Tensor) -> torch.Tensor:
    """0, 1, 2, ... along the last dimension; int64."""
    return torch.arange(rows.shape[-1], device=rows.device)
