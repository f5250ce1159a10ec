"""What is known of pictures that came before, so that they need not come again.

Two tables. The first says which encoded picture stands behind what a client sent: behind Base64
text for ever, behind a URL as long as its origin says that it is fresh. The second says what an
encoded picture becomes within a pixel budget. Nothing that one tenant sent or fetched is known to
another: each key begins with the tenant's salt.

Base64 text is known by a digest of the text itself, so a known picture is never unpacked. The
digest is SHA-256, which is a third faster than BLAKE2b on processors with instructions for it.
"""

from __future__ import annotations

import hashlib
import time
from typing import NamedTuple

from silkline.core import PixelBudget
from silkline.ingress.identity import Identity
from silkline.ingress.lru import Lru

SOURCE_BYTES = 550
"""What an entry of the first table takes besides its URL, if it has one."""

IMAGE_BYTES = 700
"""What an entry of the second table takes."""

Name = str | bytes
"""A URL, or the digest of Base64 text."""


class Encoded(NamedTuple):
    """An encoded picture, without its bytes.

    Attributes:
        digest: Of the bytes, by `digest`.
        size: Bytes that it has.
        fresh_until: Until when a source stands for it, by `time.monotonic`.
    """

    digest: bytes
    size: int
    fresh_until: float


class KnownImages:
    """Remembers identities. No step waits."""

    def __init__(self, capacity_bytes: int) -> None:
        """Makes empty tables; each of its tables gets half of the capacity."""
        self._sources: Lru[tuple[bytes, Name], Encoded] = Lru(capacity_bytes // 2)
        self._images: Lru[tuple[bytes, bytes, PixelBudget], Identity] = Lru(capacity_bytes // 2)

    @property
    def entries(self) -> int:
        """Sources and pictures that are known."""
        return len(self._sources) + len(self._images)

    @property
    def size_bytes(self) -> int:
        """About what they take."""
        return self._sources.size_bytes + self._images.size_bytes

    def source(self, scope: bytes, name: Name) -> Encoded | None:
        """The encoded picture behind a source; None where it is not known, or not any more."""
        found = self._sources.get((scope, name))
        if found is not None and found.fresh_until <= time.monotonic():
            self._sources.drop((scope, name))
            return None
        return found

    def learn_source(self, scope: bytes, name: Name, encoded: Encoded) -> None:
        """Keeps what stands behind a source, in place of what did before."""
        if encoded.fresh_until > time.monotonic():
            size = SOURCE_BYTES + (len(name) if isinstance(name, str) else 0)
            self._sources.put((scope, name), encoded, size)
        else:
            self._sources.drop((scope, name))

    def image(self, scope: bytes, encoded: bytes, budget: PixelBudget) -> Identity | None:
        """What the encoded picture of this digest becomes; None where it is not known."""
        return self._images.get((scope, encoded, budget))

    def learn_image(
        self, scope: bytes, encoded: bytes, budget: PixelBudget, identity: Identity
    ) -> None:
        """Keeps what an encoded picture becomes."""
        self._images.put((scope, encoded, budget), identity, IMAGE_BYTES)


def digest(data: bytes) -> bytes:
    """SHA-256."""
    return hashlib.sha256(data).digest()
