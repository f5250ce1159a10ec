"""The features of pictures that came lately, so that one that comes again is not encoded again."""

from __future__ import annotations

from collections import OrderedDict

import torch


class FeatureCache:
    """Least recently used first out, by bytes; keys are `PreparedImage.digest`s."""

    def __init__(self, limit: int) -> None:
        """Makes an empty cache.

        Args:
            limit: Most bytes of features; 0 keeps none.
        """
        self._limit = limit
        self._held: OrderedDict[bytes, torch.Tensor] = OrderedDict()
        self._bytes = 0

    @property
    def held_bytes(self) -> int:
        """Bytes of what it holds."""
        return self._bytes

    def get(self, digest: bytes) -> torch.Tensor | None:
        """The features `[tokens, hidden]` of a picture, or None."""
        found = self._held.get(digest)
        if found is not None:
            self._held.move_to_end(digest)
        return found

    def put(self, digest: bytes, features: torch.Tensor) -> None:
        """Keeps features; what does not fit at all is not kept."""
        size = features.nbytes
        if size > self._limit or digest in self._held:
            return
        # A row of a batch would keep the whole batch in memory.
        own = features.clone() if features.untyped_storage().nbytes() > size else features
        self._held[digest] = own
        self._bytes += size
        while self._bytes > self._limit:
            _, oldest = self._held.popitem(last=False)
            self._bytes -= oldest.nbytes
