"""A cache of values by key, limited by bytes; the least recently used ones are evicted."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class ByteLru(Generic[Value]):
    """A cache of values of known size. Not thread-safe."""

    def __init__(self, limit: int) -> None:
        """Creates an empty cache.

        Args:
            limit: Maximum size of all values in bytes; 0 keeps none.
        """
        self.limit = limit
        """Maximum size of all values in bytes."""
        self.held_bytes = 0
        """Size of all values in bytes."""
        self._entries: OrderedDict[Hashable, tuple[Value, int]] = OrderedDict()

    def get(self, key: Hashable) -> Value | None:
        """Returns a value, or None."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: Hashable, value: Value, size: int) -> None:
        """Stores a value of `size` bytes, unless its key is known or it exceeds the limit alone."""
        if size > self.limit or key in self._entries:
            return
        self._entries[key] = value, size
        self.held_bytes += size
        while self.held_bytes > self.limit:
            _, (_, oldest) = self._entries.popitem(last=False)
            self.held_bytes -= oldest
