"""Stores keys in memory: for a single gateway process, lost when it ends."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from silkline.idempotency.base import Claim, Found, KeyStore

MAX_BYTES = 64 * 1024 * 1024
ENTRY_BYTES = 512
"""Approximate memory of an entry without its answer."""


@dataclass(slots=True)
class _Entry:
    claim: Claim
    expires: float
    answer: bytes | None = None

    @property
    def size(self) -> int:
        return ENTRY_BYTES + len(self.answer or b"")


class MemoryKeys(KeyStore):
    """Stores keys in memory; evicts the oldest finished keys when it is full."""

    def __init__(
        self, max_bytes: int = MAX_BYTES, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Creates an empty store; `clock` returns seconds."""
        self._max_bytes = max_bytes
        self._clock = clock
        self._claimed: dict[bytes, _Entry] = {}  # bounded by the number of open requests
        self._finished: OrderedDict[bytes, _Entry] = OrderedDict()  # oldest first
        self._bytes = 0

    async def claim(self, key: bytes, claim: Claim, lease_seconds: float) -> Found | None:
        """See `KeyStore`."""
        entry = self._live(key)
        if entry is not None:
            return Found(entry.claim.fingerprint, entry.answer)
        self._claimed[key] = _Entry(claim, self._clock() + lease_seconds)
        return None

    async def renew(self, key: bytes, claim: Claim, lease_seconds: float) -> bool:
        """See `KeyStore`."""
        if not self._is_held(key, claim):
            return False
        self._claimed[key].expires = self._clock() + lease_seconds
        return True

    async def finish(self, key: bytes, claim: Claim, answer: bytes, ttl_seconds: float) -> bool:
        """See `KeyStore`."""
        if not self._is_held(key, claim):
            return False
        del self._claimed[key]
        entry = _Entry(claim, self._clock() + ttl_seconds, answer)
        self._finished[key] = entry
        self._bytes += entry.size
        self._make_room()
        return True

    async def release(self, key: bytes, claim: Claim) -> None:
        """See `KeyStore`."""
        if self._is_held(key, claim):
            del self._claimed[key]

    async def forget(self, key: bytes) -> None:
        """See `KeyStore`."""
        self._drop(key)

    async def aclose(self) -> None:
        """Drops all keys; idempotent."""
        self._claimed.clear()
        self._finished.clear()
        self._bytes = 0

    def _live(self, key: bytes) -> _Entry | None:
        entry = self._claimed.get(key) or self._finished.get(key)
        if entry is None or entry.expires > self._clock():
            return entry
        self._claimed.pop(key, None)
        self._drop(key)
        return None

    def _is_held(self, key: bytes, claim: Claim) -> bool:
        entry = self._claimed.get(key)
        return entry is not None and entry.claim == claim

    def _make_room(self) -> None:
        now = self._clock()
        while self._finished:
            key, oldest = next(iter(self._finished.items()))
            if self._bytes <= self._max_bytes and oldest.expires > now:
                return
            self._drop(key)

    def _drop(self, key: bytes) -> None:
        entry = self._finished.pop(key, None)
        if entry is not None:
            self._bytes -= entry.size
