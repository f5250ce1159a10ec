"""CORS: which origins may send requests, and the response headers for their browsers.

A page is allowed by its origin alone. Credentials that its browser adds (cookies, a password) never
count: no response has Access-Control-Allow-Credentials.
https://fetch.spec.whatwg.org/#http-cors-protocol

starlette's CORSMiddleware is not used. It answers preflights with 200 or 400 and plain text,
without a request id or a log line, and needs a list of every header that a client may send.
"""

from __future__ import annotations

from starlette.responses import Response
from starlette.types import Scope

from silkline.config import EVERY_ORIGIN
from silkline.errors import Forbidden

_METHODS = "GET, HEAD, POST, DELETE"
_HEADERS = (
    b"authorization, content-type, content-encoding, idempotency-key, x-api-key, x-request-id"
)
_MAX_AGE_SECONDS = "7200"
"""How long a browser caches a preflight: the maximum that Chromium accepts."""

_READABLE = ", ".join(
    (
        "idempotent-replayed",
        "request-id",
        "retry-after",
        "server-timing",
        "x-request-id",
        "x-silkline-cache",
        "x-silkline-ignored",
        "x-silkline-model",
        "x-silkline-pixel-budget",
    )
).encode()

Headers = dict[bytes, bytes]
Pairs = list[tuple[bytes, bytes]]


def is_preflight(scope: Scope) -> bool:
    """Whether a request is a CORS preflight; browsers send these without a key."""
    if scope["method"] != "OPTIONS":
        return False
    return {b"origin", b"access-control-request-method"} <= {name for name, _ in scope["headers"]}


class Cors:
    """The origins that the setting `cors_origins` lists."""

    def __init__(self, origins: tuple[str, ...]) -> None:
        """Takes the setting; without origins, no response gets a CORS header."""
        self._origins = {origin.encode() for origin in origins}
        self._every = origins == (EVERY_ORIGIN,)

    def allows(self, headers: Headers) -> bool:
        """Whether a request comes from a page whose origin is listed."""
        origin = headers.get(b"origin")
        return origin is not None and (self._every or origin in self._origins)

    def response_headers(self, scope: Scope) -> Pairs:
        """The CORS headers of every response to a request."""
        if not self._origins:
            return []
        headers: Headers = dict(scope["headers"])
        pairs = [(b"vary", b"Origin")]
        if self.allows(headers):
            allowed = b"*" if self._every else headers[b"origin"]
            pairs.append((b"access-control-allow-origin", allowed))
            pairs.append((b"access-control-expose-headers", _READABLE))
        return pairs

    def preflight_response(self, headers: Headers) -> Response:
        """The response to a preflight, without the headers that every response gets.

        It allows every header that the page asks for: none grants a page more rights.

        Raises:
            Forbidden: The origin is not listed.
        """
        if not self.allows(headers):
            raise Forbidden(
                "This server does not allow the page's origin. Have the operator list it in the "
                "setting cors_origins."
            )
        response = Response(
            status_code=204,
            headers={
                "access-control-allow-methods": _METHODS,
                "access-control-max-age": _MAX_AGE_SECONDS,
                "vary": "Access-Control-Request-Headers",
            },
        )
        requested = headers.get(b"access-control-request-headers", _HEADERS)
        response.raw_headers.append((b"access-control-allow-headers", requested))
        return response
