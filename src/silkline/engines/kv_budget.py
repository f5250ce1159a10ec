"""Sizes a KV cache when the settings do not."""

from __future__ import annotations

from silkline.engines.memory import free_memory

USUAL_CONTEXT = 4096
"""Tokens per request, images and answer included, that a cache is sized for where the model's
context is longer: room for every request's full context would exceed any machine's memory."""

MIN_BYTES = 128 * 1024 * 1024
"""A cache may always take this many bytes."""

_SHARES = 4
"""A cache takes at most one of this many shares of the free memory: other workers, images and the
activations of a step need memory, too."""


def kv_budget(
    configured: int,
    *,
    requests: int,
    tokens: int,
    token_bytes: int,
    spare: int,
    request_bytes: int = 0,
) -> int:
    """Returns the size of a KV cache in bytes.

    Args:
        configured: The size in the settings; 0 lets this function choose: enough for all requests
            if that fits into `spare`.
        requests: Maximum number of concurrent requests.
        tokens: Tokens per request; see `USUAL_CONTEXT`.
        token_bytes: Bytes per token.
        spare: Bytes of memory that the cache may take.
        request_bytes: Bytes per request beside those of its tokens.
    """
    needed = requests * (tokens * token_bytes + request_bytes)
    return configured or max(MIN_BYTES, min(needed, spare))


def spare_memory(weights_bytes: int = 0, limit: int = 0) -> int:
    """Returns how many bytes of main memory a KV cache may take, at least 0.

    Args:
        weights_bytes: Size of the weights that are still to be loaded.
        limit: The maximum in the engine's options; 0 for none.
    """
    spare = cache_share(free_memory() - weights_bytes)
    return min(spare, limit) if limit else spare


def cache_share(free_bytes: int) -> int:
    """Returns how many of these bytes of free memory KV caches may take, at least 0."""
    return max(0, free_bytes) // _SHARES
