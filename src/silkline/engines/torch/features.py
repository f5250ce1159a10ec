"""Caches the features of recent images, so that a repeated image is not encoded again."""

from __future__ import annotations

import torch

from silkline.stores.lru import Lru


class FeatureCache:
    """An LRU cache of image features, limited by bytes; a key is a scope and an image's digest."""

    def __init__(self, limit: int) -> None:
        """Creates an empty cache.

        Args:
            limit: Maximum size in bytes; 0 disables the cache.
        """
        self._entries = Lru[bytes, torch.Tensor](limit)

    @property
    def held_bytes(self) -> int:
        """Size of the cached features in bytes."""
        return self._entries.size_bytes

    def get(self, key: bytes) -> torch.Tensor | None:
        """Returns the features `[tokens, hidden]` of an image, or None."""
        return self._entries.get(key)

    def put(self, key: bytes, features: torch.Tensor) -> None:
        """Stores features, unless their key is known or they exceed the limit on their own."""
        size = features.nbytes
        if size > self._entries.capacity_bytes or self._entries.get(key) is not None:
            return
        # A view of a batch would keep the whole batch in memory.
        shared = features.untyped_storage().nbytes() > size
        self._entries.put(key, features.clone() if shared else features, size)
