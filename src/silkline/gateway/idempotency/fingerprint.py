"""What a keyed request is: its key, and a digest that tells it from every other request."""

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
"""More than any form that is taken has parts."""


def idempotency_key(scope: Scope) -> str | None:
    """The request's key; None when it has none.

    Raises:
        InvalidRequest: There are several, or it is not 1 to 255 printable ASCII characters.
    """
    given = [value for name, value in scope["headers"] if name == _NAME]
    if not given:
        return None
    if len(given) > 1 or not _KEY.fullmatch(given[0]):
        raise InvalidRequest(
            f"The header {HEADER} is wrong. Send one, of 1 to 255 printable ASCII characters.",
            param=HEADER,
        )
    return str(given[0].decode("ascii"))


def stored_name(tenant: str, key: str) -> bytes:
    """What a store calls a tenant's key: `DIGEST_BYTES` that do not tell the key."""
    return _digest(b"silkline.idemkey", tenant.encode(), key.encode())


def fingerprint(scope: Scope, body: bytes, tenant: str) -> bytes:
    """Digest of a request's method, path, body and tenant.

    The boundary of a form, which clients draw anew each time that they write it, is left out; not
    so one that stands all over the body, which nobody draws: without it the body would grow by it.
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
