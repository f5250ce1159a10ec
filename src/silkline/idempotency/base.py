"""The interface of a store of idempotency keys: which execution owns a key, and its answer.

A key is claimed for a short lease, which its owner renews while it works. If the owner dies, the
claim expires, and the next request with the key is executed. A finished claim holds the answer
until its time to live is over.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from silkline.errors import Overloaded

DIGEST_BYTES = 32
"""Length of a key's name in a store, and of a request's fingerprint."""

OWNER_BYTES = 16
MAX_ANSWER_BYTES = 1024 * 1024 + 64 * 1024
"""Maximum length of a stored answer: a body of 1 MiB, and its headers."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One execution's claim on a key.

    Attributes:
        fingerprint: Digest of the request, `DIGEST_BYTES` long.
        owner: Random bytes that identify this execution, `OWNER_BYTES` long.
    """

    fingerprint: bytes
    owner: bytes


@dataclass(frozen=True, slots=True)
class Found:
    """The entry of a key that is already claimed or finished.

    Attributes:
        fingerprint: Digest of the first request with this key.
        answer: The stored answer; None while the request is running.
    """

    fingerprint: bytes
    answer: bytes | None


class KeyStore(ABC):
    """Stores keys. Every method raises `Overloaded` when the store is unavailable."""

    @abstractmethod
    async def claim(self, key: bytes, claim: Claim, lease_seconds: float) -> Found | None:
        """Claims a free key, which returns None, or returns the key's existing entry.

        A claim that timed out or was cancelled may still have taken its key; the store frees it as
        soon as it can.
        """

    @abstractmethod
    async def renew(self, key: bytes, claim: Claim, lease_seconds: float) -> bool:
        """Extends the lease of a claim; False if the claim no longer holds the key."""

    @abstractmethod
    async def finish(self, key: bytes, claim: Claim, answer: bytes, ttl_seconds: float) -> bool:
        """Stores the answer, at most `MAX_ANSWER_BYTES`; False if the claim was lost before."""

    @abstractmethod
    async def release(self, key: bytes, claim: Claim) -> None:
        """Frees a key if the claim still holds it."""

    @abstractmethod
    async def forget(self, key: bytes) -> None:
        """Frees a finished key; a key that is claimed, perhaps only since, stays claimed."""

    @abstractmethod
    async def aclose(self) -> None:
        """Releases the store's resources; idempotent."""


def store_unavailable() -> Overloaded:
    """The error that an unavailable store raises."""
    return Overloaded(
        "The store of idempotency keys is unavailable, so the request was not executed. Retry "
        "after the time in Retry-After, or send the request without the header Idempotency-Key.",
        param="Idempotency-Key",
    )
