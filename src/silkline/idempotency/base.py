"""The contract of a store of idempotency keys: who works on a key, and what came of it.

A key is claimed for a short lease, which its owner renews while it works. An owner that dies leaves
a claim that ends by itself, so that the next request with the key is executed. A claim that is
finished holds the answer until its time is over.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from silkline.errors import Overloaded

DIGEST_BYTES = 32
"""Of a key's name in a store, and of a request's fingerprint."""

OWNER_BYTES = 16
MAX_ANSWER_BYTES = 1024 * 1024 + 64 * 1024
"""Of an answer as it is kept: a body of 1 MiB, and its headers."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Who works on a key, and for which request.

    Attributes:
        fingerprint: Digest of the request, `DIGEST_BYTES` long.
        owner: Random, `OWNER_BYTES` long: tells this execution from all others.
    """

    fingerprint: bytes
    owner: bytes


@dataclass(frozen=True, slots=True)
class Found:
    """What a key stands for already.

    Attributes:
        fingerprint: Digest of the request that came first with this key.
        answer: What was kept of its answer; None while it is being worked on.
    """

    fingerprint: bytes
    answer: bytes | None


class KeyStore(ABC):
    """Keeps keys. Every method raises `Overloaded` when the store does not serve."""

    @abstractmethod
    async def claim(self, key: bytes, claim: Claim, lease_seconds: float) -> Found | None:
        """Takes a key that is free, which gives None, or tells what it stands for.

        A claim whose caller was told nothing, because it came too late or the caller was cancelled,
        may take its key all the same; the store frees it as soon as it can.
        """

    @abstractmethod
    async def renew(self, key: bytes, claim: Claim, lease_seconds: float) -> bool:
        """Lengthens the lease of a claim; False when the key is no longer held by it."""

    @abstractmethod
    async def finish(self, key: bytes, claim: Claim, answer: bytes, ttl_seconds: float) -> bool:
        """Keeps the answer, at most `MOST_ANSWER_BYTES`; False when the claim was lost before."""

    @abstractmethod
    async def release(self, key: bytes, claim: Claim) -> None:
        """Frees a key that is still held by the claim."""

    @abstractmethod
    async def forget(self, key: bytes) -> None:
        """Frees a key that is finished; one that is claimed, meanwhile perhaps, stays so."""

    @abstractmethod
    async def aclose(self) -> None:
        """Frees what the store holds. Closing twice is the same as once."""


def not_served() -> Overloaded:
    """What a store raises that cannot be used now."""
    return Overloaded(
        "Idempotency keys cannot be looked up at the moment, so the request was not begun. Send it "
        "again, or leave out the header Idempotency-Key.",
        param="Idempotency-Key",
    )
