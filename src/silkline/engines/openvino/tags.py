"""Gives the embeddings of a prompt the identity by which OpenVINO GenAI's prefix cache knows them.

The pipeline knows a block of 32 tokens by a 64-bit hash of the block before it and of some numbers
of each token's embedding, and compares nothing when it finds one. It knows no tenants. So the two
lowest bits of each number are replaced by bits of a digest: for a whole block that of its key (see
`prefix_keys`), for the tokens behind that of the whole prompt. Then only blocks of the same key are
found, whatever numbers the pipeline takes, and a client chooses nothing that the hash sees.

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
_KEY_BYTES = 32


def tag(embeddings: NDArray[np.float32], keys: Sequence[bytes], rest: bytes) -> None:
    """Tags the embeddings `[1, tokens, width]` of a prompt in place.

    Args:
        embeddings: The embeddings, contiguous.
        keys: The keys of the first blocks, which may be reused.
        rest: The key of the tokens behind them; if empty, one that is used once.
    """
    _, tokens, width = embeddings.shape
    numbers = embeddings.view(np.uint32).reshape(tokens, width)
    for index, key in enumerate(keys):
        _replace(numbers[index * BLOCK_TOKENS : (index + 1) * BLOCK_TOKENS], key)
    _replace(numbers[len(keys) * BLOCK_TOKENS :], rest or secrets.token_bytes(_KEY_BYTES))


def _replace(numbers: NDArray[np.uint32], key: bytes) -> None:
    """Replaces the lowest bits of all numbers by bits that depend on the key alone."""
    count = -(-numbers.size // _PER_BYTE)
    drawn = np.frombuffer(hashlib.shake_128(key).digest(count), np.uint8)
    bits = (drawn[:, None] >> np.arange(0, 8, _BITS, dtype=np.uint8)) & np.uint8(_MASK)
    numbers &= ~_MASK
    numbers |= bits.reshape(-1)[: numbers.size].reshape(numbers.shape)
