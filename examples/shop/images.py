"""The products' images, in a folder or a bucket, named by the digest of their bytes."""

from __future__ import annotations

from pathlib import Path

import obstore
from obstore.store import from_url

from silkline.catalog.product import image_digest


class Images:
    """JPEGs by their digests: an image that changes has another name, so caches never are stale."""

    def __init__(self, url: str) -> None:
        """Opens the store.

        Args:
            url: file:///folder, s3://bucket/prefix, or another that obstore knows.
        """
        if url.startswith("file://"):
            Path(url.removeprefix("file://")).mkdir(parents=True, exist_ok=True)
        self._store = from_url(url)

    def put(self, content: bytes) -> str:
        """Stores an image and returns its digest."""
        digest = image_digest(content)
        obstore.put(self._store, f"{digest}.jpg", content)
        return digest

    def get(self, digest: str) -> bytes:
        """The image's bytes.

        Raises:
            FileNotFoundError: There is no such image.
        """
        return bytes(obstore.get(self._store, f"{digest}.jpg").bytes())
