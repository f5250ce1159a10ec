"""An LRU cache bounded in bytes."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Lru(Generic[Key, Value]):
    """A mapping that evicts the least recently used values. Every method takes constant time."""

    def __init__(self, capacity_bytes: int) -> None:
        """Creates an empty cache; with a capacity of 0 it stores nothing."""
        self.capacity_bytes = capacity_bytes
        """Maximum sum of the sizes."""
        self._values: OrderedDict[Key, tuple[Value, int]] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        """Number of cached values."""
        return len(self._values)

    @property
    def size_bytes(self) -> int:
        """Sum of the sizes passed to `put`."""
        return self._bytes

    def get(self, key: Key) -> Value | None:
        """Returns a value and marks it as the most recently used; None if it is missing."""
        found = self._values.get(key)
        if found is None:
            return None
        self._values.move_to_end(key)
        return found[0]

    def put(self, key: Key, value: Value, size: int) -> None:
        """Stores a value; replaces the previous value of the key.

        Args:
            key: The key.
            value: The value.
            size: Bytes that key and value take. A value above the capacity is not stored, and it
                evicts everything else.
        """
        self.drop(key)
        self._values[key] = (value, size)
        self._bytes += size
        while self._bytes > self.capacity_bytes:
            _, (_, freed) = self._values.popitem(last=False)
            self._bytes -= freed

    def drop(self, key: Key) -> None:
        """Removes a value if it is there."""
        found = self._values.pop(key, None)
        if found is not None:
            self._bytes -= found[1]
