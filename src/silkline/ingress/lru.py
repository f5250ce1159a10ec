"""A table that forgets what was longest not asked for, bounded in bytes."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Lru(Generic[Key, Value]):
    """Values by key. No step waits, and each takes constant time."""

    def __init__(self, capacity_bytes: int) -> None:
        """Makes an empty table; with a capacity of 0 nothing is kept."""
        self._capacity = capacity_bytes
        self._values: OrderedDict[Key, tuple[Value, int]] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        """Values that are kept."""
        return len(self._values)

    @property
    def size_bytes(self) -> int:
        """What they take, by the sizes that were given with them."""
        return self._bytes

    def get(self, key: Key) -> Value | None:
        """The value, which is by that the last to be forgotten."""
        found = self._values.get(key)
        if found is None:
            return None
        self._values.move_to_end(key)
        return found[0]

    def put(self, key: Key, value: Value, size: int) -> None:
        """Keeps a value, in place of the one with the same key.

        Args:
            key: Names it.
            value: What is kept.
            size: Bytes that key and value take; one that is larger than all is not kept.
        """
        self.drop(key)
        self._values[key] = (value, size)
        self._bytes += size
        while self._bytes > self._capacity:
            _, (_, freed) = self._values.popitem(last=False)
            self._bytes -= freed

    def drop(self, key: Key) -> None:
        """Forgets a value, if there is one."""
        found = self._values.pop(key, None)
        if found is not None:
            self._bytes -= found[1]
