"""The loss of a student: how far its tokens are from the teacher's."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Targets(NamedTuple):
    """What a teacher said at n tokens, with its k most likely tokens at each.

    Attributes:
        tokens: The token that it chose, (n).
        top: Its most likely tokens, (n, k).
        logprobs: Their log-probabilities at the temperature of the distillation, (n, k).
    """

    tokens: Tensor
    top: Tensor
    logprobs: Tensor


def soft_loss(logits: Tensor, targets: Targets, temperature: float) -> Tensor:
    """Returns the mean KL divergence from teacher to student, times the squared temperature.

    All tokens outside the teacher's top k count as one. The factor keeps the gradients' size when
    the temperature changes: they shrink with its square.

    Args:
        logits: The student's, (n, vocabulary).
        targets: The teacher's.
        temperature: Divides the logits, above 0.
    """
    scaled = logits.float() / temperature
    total = scaled.logsumexp(-1)
    student = scaled.gather(-1, targets.top) - total[:, None]
    teacher = targets.logprobs
    known = teacher.exp()
    divergence = (known * (teacher - student)).sum(-1)
    if targets.top.shape[-1] < logits.shape[-1]:
        rest = (1.0 - known.sum(-1)).clamp_min(0.0)
        others = scaled.scatter(-1, targets.top, -torch.inf).logsumexp(-1) - total
        divergence = divergence + torch.special.xlogy(rest, rest) - rest * others
    return divergence.mean() * temperature**2


def loss(logits: Tensor, targets: Targets, temperature: float, soft: float) -> Tensor:
    """Returns the weighted sum of the soft loss and the cross-entropy of the teacher's tokens.

    Args:
        logits: The student's, (n, vocabulary).
        targets: The teacher's.
        temperature: Of the soft loss.
        soft: The weight of the soft loss, 0 to 1; the cross-entropy has the rest.
    """
    hard = nn.functional.cross_entropy(logits.float(), targets.tokens)
    return soft * soft_loss(logits, targets, temperature) + (1.0 - soft) * hard
