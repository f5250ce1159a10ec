"""Changes the logits of a batch before tokens are sampled: penalties, biases, forbidden tokens.

The order is: `repetition_penalty`, then `frequency_penalty`, `presence_penalty` and `logit_bias`,
which are sums, then the end tokens that `min_tokens` forbids. Penalties count what a request's own
tokens are, so a row never depends on the rest of the batch.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch

from silkline.core import Sampling


@dataclass(slots=True)
class Penalties:
    """What to change in the logits of one request's next token.

    Attributes:
        sampling: The sampling settings.
        prompt: The tokens of the prompt.
        end_ids: The tokens that end the answer; `min_tokens` forbids them.
        unwanted: End tokens that are forbidden at any time.
        counts: How often each token is in the answer.
        tokens: Number of tokens in the answer.
        seen: The tokens to which `repetition_penalty` applies, on the device of the logits; None
            before the first step.
        fresh: Tokens that are still to be added to `seen`.
    """

    sampling: Sampling
    prompt: frozenset[int]
    end_ids: frozenset[int]
    unwanted: frozenset[int] = frozenset()
    counts: Counter[int] = field(default_factory=Counter)
    tokens: int = 0
    seen: torch.Tensor | None = None
    fresh: list[int] = field(default_factory=list)

    def add(self, token: int) -> None:
        """Counts the next token of the answer."""
        self.tokens += 1
        if token not in self.counts and token not in self.prompt:
            self.fresh.append(token)
        self.counts[token] += 1

    def scaled(self, logits: torch.Tensor) -> torch.Tensor | None:
        """Returns the tokens to which `repetition_penalty` applies, int64 `[T]`; None if none.

        Those of the prompt are copied to the device only once. Tokens without a logit, as those of
        images may be, are left out.
        """
        if self.sampling.repetition_penalty == 1:
            return None
        if self.seen is None:
            known = sorted(token for token in self.prompt if token < logits.shape[1])
            self.seen = torch.tensor(known, dtype=torch.int64, device=logits.device)
        if self.fresh:
            fresh = torch.tensor(self.fresh, dtype=torch.int64, device=logits.device)
            self.seen = torch.cat((self.seen, fresh))
            self.fresh.clear()
        return self.seen

    def added(self) -> dict[int, float]:
        """Returns what is added to the logits of tokens."""
        sampling = self.sampling
        change = dict(sampling.logit_bias)
        if sampling.frequency_penalty or sampling.presence_penalty:
            for token, count in self.counts.items():
                penalty = count * sampling.frequency_penalty + sampling.presence_penalty
                change[token] = change.get(token, 0.0) - penalty
        return change

    def forbidden(self) -> Iterable[int]:
        """Returns the tokens that cannot be the next one."""
        return self.end_ids if self.tokens < self.sampling.min_tokens else self.unwanted


def penalties(
    sampling: Sampling,
    prompt: Iterable[int],
    end_ids: frozenset[int],
    unwanted: frozenset[int] = frozenset(),
) -> Penalties | None:
    """Returns the penalties of a request; None if nothing is ever changed."""
    counted = (
        sampling.repetition_penalty != 1 or sampling.frequency_penalty or sampling.presence_penalty
    )
    if counted or sampling.logit_bias or sampling.min_tokens or unwanted:
        return Penalties(sampling, frozenset(prompt), end_ids, unwanted)
    return None


def penalised(logits: torch.Tensor, rows: Sequence[Penalties | None]) -> torch.Tensor:
    """Applies the penalties of each row.

    Args:
        logits: `[N, vocabulary]`, any floating type; not changed.
        rows: The penalties of each row.

    Returns:
        `logits` if there is nothing to change, else changed logits in float32.
    """
    active = [(row, each) for row, each in enumerate(rows) if each is not None]
    scaled = [
        (row, tokens, each.sampling.repetition_penalty)
        for row, each in active
        if (tokens := each.scaled(logits)) is not None
    ]
    added = [(row, token, value) for row, each in active for token, value in each.added().items()]
    forbidden = [(row, token, -math.inf) for row, each in active for token in each.forbidden()]
    if not (scaled or added or forbidden):
        return logits
    logits = logits.float().clone()
    if scaled:
        _scale(logits, scaled)
    for changes in (added, forbidden):
        if changes:
            where, value = _indexed(logits, changes)
            logits[where] += value
    return logits


def _scale(logits: torch.Tensor, scaled: Sequence[tuple[int, torch.Tensor, float]]) -> None:
    """Applies `repetition_penalty`: a row, its tokens and the penalty each."""
    rows, ids, penalty = zip(*scaled, strict=True)
    tokens = torch.cat(ids)
    lengths = torch.tensor([len(each) for each in ids])
    index = torch.tensor(rows).repeat_interleave(lengths).to(logits.device)
    factor = torch.tensor(penalty, dtype=torch.float32).repeat_interleave(lengths)
    factor = factor.to(logits.device)
    old = logits[index, tokens]
    logits[index, tokens] = torch.where(old > 0, old / factor, old * factor)


def _indexed(
    logits: torch.Tensor, changes: Sequence[tuple[int, int, float]]
) -> tuple[tuple[torch.Tensor, torch.Tensor], torch.Tensor]:
    """The indices and values of changes, without those of tokens that have no logit."""
    known = [change for change in changes if change[1] < logits.shape[1]]
    indices = torch.tensor([change[:2] for change in known], dtype=torch.int64).reshape(-1, 2)
    values = torch.tensor([change[2] for change in known], dtype=torch.float32)
    rows, tokens = indices.to(logits.device).unbind(1)
    return (rows, tokens), values.to(logits.device)
