"""The interface of a cache tier: a store of values that expire."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TierHealth:
    """The status of a tier; counts are since it was created.

    Attributes:
        degraded: Whether the last operation failed, so that reads may miss and writes may be lost.
        errors: Operations that failed.
        evictions: Values that were evicted for room before they expired.
        entries: Number of stored values; None if only the server knows.
        bytes: Bytes of the tier's capacity that they use; None if only the server knows.
    """

    degraded: bool = False
    errors: int = 0
    evictions: int = 0
    entries: int | None = None
    bytes: int | None = None


class Tier(ABC):
    """Stores values by key until they expire.

    A tier may lose any value at any time, and never raises its failures: a failed read is a miss, a
    failed write is dropped, and both are counted. Values may come back altered; their readers check
    them. All methods may be called by many tasks concurrently and may be cancelled.
    """

    name: str
    """Its name in metrics."""

    writes_at_once: int = 1
    """Number of concurrent writes that suits the tier; more than 1 where a write waits long."""

    @abstractmethod
    async def get(self, key: bytes) -> bytes | None:
        """The value; None if there is none or it has expired."""

    @abstractmethod
    async def put(self, key: bytes, value: bytes, ttl_seconds: float) -> None:
        """Stores a value for at most `ttl_seconds`; replaces an older one."""

    @abstractmethod
    def health(self) -> TierHealth:
        """The tier's status; never waits."""

    @abstractmethod
    async def aclose(self) -> None:
        """Frees its resources. Idempotent."""
