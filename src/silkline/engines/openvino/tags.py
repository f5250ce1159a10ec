"""Gives the embeddings of a prompt the identity by which OpenVINO GenAI's prefix cache knows them.

The pipeline knows a block of 32 tokens by a 64-bit hash of the block before it and of some numbers
of each token's embedding, and compares nothing when it finds one. It knows no tenants. So the two
lowest bits of each number are replaced: those of a whole block by bits that depend on the block's
key (see `prefix_keys`) and a secret of this process, those of all other tokens by bits used
only once. Then only blocks with the same key are found, whatever numbers the pipeline takes, and no
client can compute what another one's hashes are.

The change of a number is at most 3 units in the last place of float32, less than the rounding of
the model's first product.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from silkline.engines.openvino.served import BLOCK_TOKENS

_BITS = 2
_MASK = np.uint32((1 << _BITS) - 1)
_PER_BYTE = 8 // _BITS
_SECRET_BYTES = 32


class Tagger:
    """Replaces the lowest bits of embeddings, with a secret of its own."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(_SECRET_BYTES)

    def tag(self, embeddings: NDArray[np.float32], keys: Sequence[bytes]) -> None:
        """Tags the embeddings `[1, tokens, width]` of a prompt in place.

        Args:
            embeddings: The embeddings, contiguous.
            keys: The keys of the first blocks, which may be reused.
        """
        _, tokens, width = embeddings.shape
        numbers = embeddings.view(np.uint32).reshape(tokens, width)
        for index, key in enumerate(keys):
            block = numbers[index * BLOCK_TOKENS : (index + 1) * BLOCK_TOKENS]
            _replace(block, self._secret + key)
        rest = numbers[len(keys) * BLOCK_TOKENS :]
        _replace(rest, secrets.token_bytes(_SECRET_BYTES))


def _replace(numbers: NDArray[np.uint32], seed: bytes) -> None:
    """Replaces the lowest bits of all numbers by bits that depend on the seed alone."""
    count = -(-numbers.size // _PER_BYTE)
    drawn = np.frombuffer(hashlib.shake_128(seed).digest(count), np.uint8)
    bits = (drawn[:, None] >> np.arange(0, 8, _BITS, dtype=np.uint8)) & np.uint8(_MASK)
    numbers &= ~_MASK
    numbers |= bits.reshape(-1)[: numbers.size].reshape(numbers.shape)
