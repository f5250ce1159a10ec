"""The contract of a cache tier: a place where values lie for a while."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TierHealth:
    """How a tier gets on; counts are since it was made.

    Attributes:
        degraded: Whether the last use of the tier failed, so that reads may be misses and writes
            may be lost.
        errors: Uses that failed.
        evictions: Values that were dropped for room before their time was over.
        entries: Values that it holds; None where only the other end knows.
        bytes: What they take of the tier's capacity; None where only the other end knows.
    """

    degraded: bool = False
    errors: int = 0
    evictions: int = 0
    entries: int | None = None
    bytes: int | None = None


class Tier(ABC):
    """Keeps values by key for a time.

    A tier may lose any value at any time, and nothing that goes wrong in it is raised: a failed
    read is a miss, a failed write is dropped, both are counted. Values may come back altered; their
    readers check them. All methods may be used by many tasks at once and may be cancelled.
    """

    name: str
    """What metrics call it."""

    writes_at_once: int = 1
    """Writes that are best under way together, where each one waits for long."""

    @abstractmethod
    async def get(self, key: bytes) -> bytes | None:
        """The value; None when there is none or its time is over."""

    @abstractmethod
    async def put(self, key: bytes, value: bytes, ttl_seconds: float) -> None:
        """Keeps a value for at most `ttl_seconds`, in place of an older one."""

    @abstractmethod
    def health(self) -> TierHealth:
        """How it gets on; never waits."""

    @abstractmethod
    async def aclose(self) -> None:
        """Frees what it holds. Closing twice is the same as once."""
