"""Reports the log-probabilities of sampled tokens.

They are the natural log-softmax, in float32, of the model's own logits: before penalties, biases,
constraints and temperature.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from silkline.core import TokenLogprob
from silkline.engines.token_bytes import TokenBytes


def token_logprobs(
    logits: torch.Tensor, ids: Sequence[int], wanted: Sequence[int | None], data: TokenBytes
) -> list[TokenLogprob | None]:
    """Returns the log-probability of each row's token.

    Args:
        logits: `[N, vocabulary]`, any floating type.
        ids: The token of each row; a negative one stands for none.
        wanted: How many of the most likely tokens to report beside it; None reports nothing.
        data: The bytes of tokens.
    """
    rows = [row for row, count in enumerate(wanted) if count is not None and ids[row] >= 0]
    found: list[TokenLogprob | None] = [None] * len(ids)
    if not rows:
        return found
    indices = torch.tensor(rows, device=logits.device)
    chosen = torch.tensor([ids[row] for row in rows], device=logits.device)
    logprobs = torch.log_softmax(logits[indices].float(), -1)
    values = logprobs.gather(1, chosen.unsqueeze(1)).squeeze(1).tolist()
    longest = min(max(wanted[row] or 0 for row in rows), logits.shape[1])
    best, tokens = logprobs.topk(longest, -1)
    top = zip(tokens.tolist(), best.tolist(), strict=True)
    for row, value, (likely, likely_values) in zip(rows, values, top, strict=True):
        count = wanted[row] or 0
        others = zip(likely[:count], likely_values[:count], strict=True)
        others_told = tuple(data.logprob(token, each) for token, each in others)
        found[row] = data.logprob(ids[row], value, others_told)
    return found
