"""What a request wants of the cache, and what it gets."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum


class CacheUse(Enum):
    """What a request wants of the cache."""

    NORMAL = "answer from it, share and keep what is computed"
    RENEW = "compute a new answer and keep it"
    NONE = "leave the cache out"


class CacheState(StrEnum):
    """What the cache did for a request."""

    HIT = "hit"
    """The answer was there."""
    MISS = "miss"
    """The answer was computed for this request."""
    COALESCED = "coalesced"
    """The answer was computed for another request at the same time."""
    NEAR = "near"
    """The answer was that of a similar picture."""
    BYPASS = "bypass"
    """The cache had no part in it."""


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """How a request may use the cache.

    Attributes:
        tenant: The tenant's salt; answers are never shared between two salts.
        use: What the request wants.
    """

    tenant: bytes = b""
    use: CacheUse = CacheUse.NORMAL


def cache_use(cache_control: str) -> CacheUse:
    """Reads a request's `Cache-Control` header, which may be empty.

    `no-store` leaves the cache out; `no-cache`, and `max-age=0`, which means the same, ask for a
    new answer. Other directives are left alone.

    https://www.rfc-editor.org/rfc/rfc9111#section-5.2.1
    """
    directives = {
        directive.replace(" ", "").replace("\t", "").lower()
        for directive in cache_control.split(",")
    }
    if "no-store" in directives:
        return CacheUse.NONE
    if directives & {"no-cache", "max-age=0", 'max-age="0"'}:
        return CacheUse.RENEW
    return CacheUse.NORMAL
