"""How much memory a KV cache gets when nobody says."""

from __future__ import annotations

from silkline.engines.memory import free_memory

USUAL_CONTEXT = 4096
"""Tokens of a request, pictures and answer included, that a cache is made for where the model's
context is longer: one for the whole context of each request would fill any machine."""

MIN_BYTES = 128 * 1024 * 1024
"""What the cache of a small model may take in any case."""

_SHARES = 4
"""Of a machine's free memory a cache takes one at most: other workers, pictures and what steps
compute want some, too."""


def kv_budget(asked: int, *, requests: int, tokens: int, token_bytes: int, spare: int) -> int:
    """Bytes for a KV cache.

    Args:
        asked: What the settings say; 0 lets this function choose: enough for all requests where
            that fits into `spare`.
        requests: Most at a time.
        tokens: Of one, see `USUAL_CONTEXT`.
        token_bytes: What a token takes.
        spare: Bytes that the cache may take.
    """
    return asked or max(MIN_BYTES, min(requests * tokens * token_bytes, spare))


def spare_memory(weights_bytes: int = 0) -> int:
    """Bytes of the machine's memory that a KV cache may take, at least 0.

    Args:
        weights_bytes: What is not loaded yet.
    """
    return max(0, free_memory() - weights_bytes) // _SHARES
