"""What every engine makes of how a request wants to be answered: its seed, its longest answer."""

from __future__ import annotations

import secrets

from silkline.core import Sampling
from silkline.errors import InvalidRequest

SEED_BITS = 64
"""Engines' seeds are numbers without a sign of this size."""


COLDEST = 1e-4
"""A temperature under this one overflows when logits are divided by it, and is greedy anyway."""


def seed_of(sampling: Sampling) -> int:
    """The seed of a request's samples, from 0 to below `2**SEED_BITS`.

    The client's is wrapped, as it may be negative. Without one it is drawn by chance: an engine's
    own default would be the same number for every request.
    """
    if sampling.seed is None:
        return secrets.randbits(SEED_BITS)
    return sampling.seed % (1 << SEED_BITS)


def answer_room(prompt_tokens: int, max_tokens: int) -> int:
    """Tokens that are left for an answer, at least 1.

    Args:
        prompt_tokens: The prompt's, its pictures included.
        most_tokens: Most tokens of prompt and answer together.

    Raises:
        InvalidRequest: None are left.
    """
    room = max_tokens - prompt_tokens
    if room < 1:
        raise InvalidRequest(
            f"The prompt has {prompt_tokens} tokens with its pictures, but prompt and answer "
            f"together may have {max_tokens}. Shorten it or send fewer pictures.",
            param="messages",
        )
    return room
