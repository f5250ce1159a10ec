"""Remembers the digests of images seen before, so that they need no new fetch or decode.

There are two tables. The first maps what a client sent to an encoded image: Base64 text for ever, a
URL while its response is fresh. The second maps an encoded image or document and a pixel budget to
the identities of the image or the pages. Tenants share nothing: each key begins with the tenant's
salt.

Base64 text is looked up by a digest of the text itself, so a known image is never unpacked. The
digest is SHA-256, which is a third faster than BLAKE2b on processors with instructions for it.
"""

from __future__ import annotations

import hashlib
import time
from typing import NamedTuple

from silkline.core import PixelBudget
from silkline.ingress.identity import Identity
from silkline.ingress.wanted import Wanted
from silkline.stores.lru import Lru

SOURCE_BYTES = 550
"""Memory of an entry of the first table, besides its URL."""

IMAGE_BYTES = 800
"""Memory of an identity in the second table."""

_ImagesKey = tuple[bytes, bytes, PixelBudget, bool]
"""Scope, digest of the file, pixel budget, and whether the file may stay undecoded."""

Name = str | bytes
"""A URL, or the digest of Base64 text."""


class Encoded(NamedTuple):
    """An encoded image, without its bytes.

    Attributes:
        digest: SHA-256 of its bytes.
        size: Its size in bytes.
        fresh_until: When its source stops being fresh, by `time.monotonic`.
        mends: What was mended in its Base64, as `Base64Data.mends`.
    """

    digest: bytes
    size: int
    fresh_until: float
    mends: tuple[str, ...] = ()


class KnownImages:
    """A bounded memory of image identities. No method waits."""

    def __init__(self, capacity_bytes: int) -> None:
        """Creates the two tables, each with half of the capacity."""
        self._sources: Lru[tuple[bytes, Name], Encoded] = Lru(capacity_bytes // 2)
        self._images: Lru[_ImagesKey, tuple[Identity, ...]] = Lru(capacity_bytes // 2)

    @property
    def entries(self) -> int:
        """Number of sources and images that are known."""
        return len(self._sources) + len(self._images)

    @property
    def size_bytes(self) -> int:
        """Approximate memory that they take."""
        return self._sources.size_bytes + self._images.size_bytes

    def source(self, scope: bytes, name: Name) -> Encoded | None:
        """The encoded image behind a source; None if it is unknown or no longer fresh."""
        found = self._sources.get((scope, name))
        if found is not None and found.fresh_until <= time.monotonic():
            self._sources.drop((scope, name))
            return None
        return found

    def learn_source(self, scope: bytes, name: Name, encoded: Encoded) -> None:
        """Stores the encoded image behind a source, or drops the source if it is not fresh."""
        if encoded.fresh_until > time.monotonic():
            size = SOURCE_BYTES + (len(name) if isinstance(name, str) else 0)
            self._sources.put((scope, name), encoded, size)
        else:
            self._sources.drop((scope, name))

    def images(
        self, scope: bytes, encoded: bytes, budget: PixelBudget, wanted: Wanted
    ) -> tuple[Identity, ...] | None:
        """The identities of the images in a file, by its digest and budget; None if unknown."""
        return self._images.get(_key(scope, encoded, budget, wanted))

    def learn_images(
        self,
        scope: bytes,
        encoded: bytes,
        budget: PixelBudget,
        wanted: Wanted,
        identities: tuple[Identity, ...],
    ) -> None:
        """Stores the identities of the images in a file within a budget."""
        key = _key(scope, encoded, budget, wanted)
        self._images.put(key, identities, IMAGE_BYTES * len(identities))


def _key(scope: bytes, encoded: bytes, budget: PixelBudget, wanted: Wanted) -> _ImagesKey:
    return scope, encoded, budget, wanted is Wanted.UNDECODED_FILE


def digest(data: bytes) -> bytes:
    """SHA-256 of the data."""
    return hashlib.sha256(data).digest()
