"""Reads a request's idempotency key, and computes a digest that identifies the request."""

from __future__ import annotations

import hashlib
import re

from starlette.types import Scope

from silkline.errors import InvalidRequest
from silkline.idempotency.base import DIGEST_BYTES

HEADER = "Idempotency-Key"
_NAME = HEADER.lower().encode()
_KEY = re.compile(rb"[\x20-\x7e]{1,255}")
_BOUNDARY = re.compile(rb'^multipart/[^;]*;.*?\bboundary="?([^";]{1,70})"?', re.IGNORECASE)
_SAME_BOUNDARY = b"silkline-boundary"
_MAX_BOUNDARIES = 64
"""More parts than any accepted form has."""


def idempotency_key(scope: Scope) -> str | None:
    """Returns the request's idempotency key; None if it has none.

    Raises:
        InvalidRequest: There are several keys, or it is not 1 to 255 printable ASCII characters.
    """
    values = [value for name, value in scope["headers"] if name == _NAME]
    if not values:
        return None
    if len(values) > 1 or not _KEY.fullmatch(values[0]):
        problem = f"occurs {len(values)} times" if len(values) > 1 else "is invalid"
        raise InvalidRequest(
            f"The header {HEADER} {problem}. Send it once, with 1 to 255 printable ASCII "
            "characters.",
            param=HEADER,
        )
    return str(values[0].decode("ascii"))


def stored_name(tenant: str, key: str) -> bytes:
    """The name of a tenant's key in a store: a digest of `DIGEST_BYTES` that hides the key."""
    return _digest(b"silkline.idemkey", tenant.encode(), key.encode())


def fingerprint(scope: Scope, body: bytes, tenant: str) -> bytes:
    """Digest of a request's method, path, body and tenant.

    Ignores the boundary of a form, which clients choose at random each time. A boundary that occurs
    more than `_MAX_BOUNDARIES` times is kept: no form has that many parts, and the replacement
    would make the body grow.
    """
    for name, value in scope["headers"]:
        found = _BOUNDARY.match(value) if name == b"content-type" else None
        if found and body.count(found[1]) <= _MAX_BOUNDARIES:
            body = body.replace(found[1], _SAME_BOUNDARY)
    parts = (scope["method"].encode(), scope["path"].encode("utf-8", "surrogatepass"), body)
    return _digest(b"silkline.idemreq", tenant.encode(), *parts)


def _digest(domain: bytes, *parts: bytes) -> bytes:
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES, person=domain)
    for part in parts:
        digest.update(len(part).to_bytes(8))
        digest.update(part)
    return digest.digest()
