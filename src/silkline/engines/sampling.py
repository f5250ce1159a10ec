"""Sampling rules that engines share: the seed, random draws, and the space left for an answer."""

from __future__ import annotations

import hashlib
import secrets

from silkline.core import Feature, Sampling
from silkline.errors import InvalidRequest

SAMPLING_FEATURES = frozenset(
    {
        Feature.TOP_K,
        Feature.MIN_P,
        Feature.FREQUENCY_PENALTY,
        Feature.PRESENCE_PENALTY,
        Feature.REPETITION_PENALTY,
        Feature.LOGIT_BIAS,
        Feature.MIN_TOKENS,
        Feature.IGNORE_EOS,
        Feature.STOP_TOKEN_IDS,
        Feature.INCLUDE_STOP,
        Feature.LOGPROBS,
        Feature.TOP_LOGPROBS,
    }
)
"""All optional features of sampling; an engine declares those that it has."""

SEED_BITS = 64
"""Engines' seeds are unsigned integers of this many bits."""

GREEDY_BELOW = 1e-4
"""Lower temperatures count as greedy: dividing logits by them would overflow."""


def seed_of(sampling: Sampling) -> int:
    """Returns the seed of a request, from 0 to below `2**SEED_BITS`.

    The client's seed may be negative, so it is reduced modulo `2**SEED_BITS`. Without one, the seed
    is random: an engine's own default would be the same number for every request.
    """
    if sampling.seed is None:
        return secrets.randbits(SEED_BITS)
    return sampling.seed % (1 << SEED_BITS)


def chance(seed: int, index: int) -> float:
    """Returns the random draw, from 0 to below 1, for the token at `index` of an answer.

    It has 24 bits, which float32 holds exactly: rounded to 1 it would choose the least likely
    token.

    Args:
        seed: The request's seed, from `seed_of`.
        index: The token's index in the answer.
    """
    key = seed.to_bytes(SEED_BITS // 8)
    digest = hashlib.blake2b(index.to_bytes(8), key=key, digest_size=8).digest()
    return (int.from_bytes(digest) >> 40) / (1 << 24)


def answer_room(prompt_tokens: int, max_tokens: int) -> int:
    """Returns how many tokens are left for an answer, at least 1.

    Args:
        prompt_tokens: Tokens of the prompt, image tokens included.
        max_tokens: Maximum number of tokens of prompt and answer together.

    Raises:
        InvalidRequest: No tokens are left.
    """
    room = max_tokens - prompt_tokens
    if room < 1:
        raise InvalidRequest(
            f"The prompt has {prompt_tokens} tokens, images included, but prompt and answer "
            f"together may have {max_tokens}. Shorten the prompt or send fewer images.",
            param="messages",
        )
    return room


def check_biases(sampling: Sampling, vocabulary: int) -> None:
    """Checks that all tokens of `logit_bias` exist.

    Raises:
        InvalidRequest: One does not.
    """
    unknown = next((token for token, _ in sampling.logit_bias if token >= vocabulary), None)
    if unknown is not None:
        raise InvalidRequest(
            f"logit_bias names the token {unknown}, but the model's tokens are 0 to "
            f"{vocabulary - 1}.",
            param="logit_bias",
        )
