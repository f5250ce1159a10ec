"""Caches the features of recent images, so that a repeated image is not encoded again."""

from __future__ import annotations

from collections import OrderedDict

import torch


class FeatureCache:
    """An LRU cache of image features, limited by bytes; a key is a scope and an image's digest."""

    def __init__(self, limit: int) -> None:
        """Creates an empty cache.

        Args:
            limit: Maximum size in bytes; 0 disables the cache.
        """
        self._limit = limit
        self._entries: OrderedDict[bytes, torch.Tensor] = OrderedDict()
        self._bytes = 0

    @property
    def held_bytes(self) -> int:
        """Size of the cached features in bytes."""
        return self._bytes

    def get(self, digest: bytes) -> torch.Tensor | None:
        """Returns the features `[tokens, hidden]` of an image, or None."""
        features = self._entries.get(digest)
        if features is not None:
            self._entries.move_to_end(digest)
        return features

    def put(self, digest: bytes, features: torch.Tensor) -> None:
        """Stores features, unless they exceed the limit on their own."""
        size = features.nbytes
        if size > self._limit or digest in self._entries:
            return
        # A view of a batch would keep the whole batch in memory.
        own = features.clone() if features.untyped_storage().nbytes() > size else features
        self._entries[digest] = own
        self._bytes += size
        while self._bytes > self._limit:
            _, oldest = self._entries.popitem(last=False)
            self._bytes -= oldest.nbytes
