"""How a request may use the cache, and what the cache did for it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum


class CacheUse(Enum):
    """How a request may use the cache."""

    NORMAL = "read the cache, share computations and store the answer"
    RENEW = "compute a new answer and store it"
    NONE = "do not use the cache"


class CacheState(StrEnum):
    """What the cache did for a request."""

    HIT = "hit"
    """The answer was in the cache."""
    MISS = "miss"
    """The answer was computed for this request."""
    COALESCED = "coalesced"
    """The answer was computed for another request at the same time."""
    NEAR = "near"
    """The answer was that of a near-duplicate image."""
    BYPASS = "bypass"
    """The cache was not used."""


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """How a request may use the cache.

    Attributes:
        tenant: The tenant's salt; answers are never shared between two salts.
        use: How the request may use the cache.
    """

    tenant: bytes = b""
    use: CacheUse = CacheUse.NORMAL

    @property
    def reuse_scope(self) -> bytes | None:
        """The scope in which the engine may reuse work; see `Request.reuse_scope`."""
        return None if self.use is CacheUse.NONE else self.tenant


def cache_use(cache_control: str) -> CacheUse:
    """Reads a request's `Cache-Control` header, which may be empty.

    With `no-store` the cache is not used; `no-cache`, and `max-age=0`, which means the same, ask
    for a new answer. Other directives are ignored.

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
