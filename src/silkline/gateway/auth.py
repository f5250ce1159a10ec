"""Authenticates and authorizes every request: a pure ASGI layer around all routes.

It checks the same path that the routes match (`scope["path"]`, from the request line alone), never
a URL built with the Host header (CVE-2026-48710). Paths that it does not know need a key too.

A key in `x-api-key`, or a Bearer key in `Authorization`, is proof by itself. What a browser adds on
its own is not: Basic credentials, or access to a server that needs no key. Basic credentials are
accepted from this server's own pages only; access without a key also from the origins in
`cors_origins`.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
import time
from pathlib import Path

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from silkline.admission.tenant import ANYONE, NOBODY, Tenant
from silkline.config import Settings
from silkline.errors import ConfigError, Forbidden, Unauthorized
from silkline.gateway.cors import Cors, is_preflight
from silkline.gateway.failures import error_response, reported
from silkline.gateway.keys import Holder, is_admin
from silkline.gateway.keys_file import KeysFile
from silkline.gateway.request_record import record_of

OPEN_PATHS = {b"/live", b"/ready", b"/health"}
"""Paths open without a key, for health probes."""

_API_KEY = b"x-api-key"
"""The header that clients of the Anthropic API send their key in; accepted on every path."""

_SAFE = {"GET", "HEAD"}
_OWN_PAGES = {b"same-origin", b"none"}

_PRIVATE_HOST = re.compile(
    rb"""(?: \[ [0-9a-f:.]+ (?: % [\w.~%-]+ )? \] | [0-9.]+    # an address
        | [\w-]+                                              # one label
        | (?: [\w-]+ \. )* (?: localhost | local | internal | test | home\.arpa ) \.?
        ) (?: : \d* )?""",
    re.VERBOSE | re.IGNORECASE,
)
"""Host names that public DNS cannot resolve, so no web site can point one at this machine.

The domains are reserved: by RFC 6761 (`localhost`, `test`), RFC 6762 (`local`), RFC 8375
(`home.arpa`) and ICANN (`internal`). Containers reach their host by such names.
"""

_FORWARDED = {b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip"}
"""Headers of a request that a proxy passes on."""

Headers = dict[bytes, bytes]


class Gate:
    """Passes a request on to the application, or answers 401 or 403; see the module."""

    def __init__(self, app: ASGIApp, settings: Settings, keys: KeysFile | None) -> None:
        """Takes the application, the settings, and what `read_keys` returned."""
        self._app = app
        self._anyone = settings.auth.allow_anyone
        self._cors = Cors(settings.auth.cors_origins)
        self._admin = settings.admin.admin_without_keys
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request; reloads the keys file while the application runs."""
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
            return
        if scope["type"] != "http":  # a WebSocket; no route supports them
            await send({"type": "websocket.close", "code": 1008})
            return
        try:
            if is_preflight(scope):
                await self._cors.preflight_response(dict(scope["headers"]))(scope, receive, send)
                return
            tenant = self._authenticate(scope)
        except (Unauthorized, Forbidden) as error:
            record_of(HTTPConnection(scope)).tenant = NOBODY
            await _refuse(error, scope, receive, send)
            return
        if tenant is not ANYONE:
            record_of(HTTPConnection(scope)).tenant = tenant
        await self._app(scope, receive, send)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._keys is None:
            await self._app(scope, receive, send)
            return
        async with self._keys.watched():
            await self._app(scope, receive, send)

    def _authenticate(self, scope: Scope) -> Tenant:
        """Returns the request's tenant; raises if the request is not allowed."""
        if scope["raw_path"] in OPEN_PATHS and scope["method"] in _SAFE:
            return ANYONE
        headers: Headers = dict(scope["headers"])
        if self._keys is None:
            if is_admin(scope["path"]):
                self._check_admin(scope, headers)
            if not self._cors.allows(headers):
                _check_own_page(scope["method"], headers)
            if not self._anyone:
                _check_host(headers)
            return ANYONE
        for header in (b"authorization", _API_KEY):
            if sum(name == header for name, _ in scope["headers"]) > 1:
                raise Unauthorized(
                    f"The request has several {header.decode()} headers. Send exactly one."
                )
        holder = self._keys.ring.holder(_key(scope["method"], headers))
        return _tenant(holder, scope["path"])

    def _check_admin(self, scope: Scope, headers: Headers) -> None:
        """Refuses the admin API of a server without keys, but to programs on this machine.

        Such a server trusts who can reach it with questions, not with its models. A page in a
        browser, or a proxy on this machine, would also connect from a loopback address: so no
        other site's pages, no public host name and no forwarded requests, whatever other settings
        allow.
        """
        if self._admin != "loopback":
            raise Forbidden(
                "The admin API needs a key with the role admin, and this server has no keys. Have "
                "the operator set keys_file, or admin_without_keys for programs on its machine."
            )
        client = scope.get("client")
        if client is None or not _is_loopback(client[0]) or _FORWARDED & headers.keys():
            raise Forbidden(
                "Without keys, the admin API is for programs on the server's own machine. Connect "
                "to its loopback address, not through a proxy, or have the operator set keys_file."
            )
        _check_own_page(scope["method"], headers)
        _check_host(headers)


def read_keys(settings: Settings) -> KeysFile | None:
    """Reads the keys file that the settings name; None without one.

    Raises:
        ConfigError: The keys file is invalid; or there is none, `allow_anyone` is off and the
            server would listen on an address that other machines can reach.
    """
    if settings.auth.keys_file:
        return KeysFile(Path(settings.auth.keys_file).expanduser())
    if not settings.auth.allow_anyone:
        _check_loopback(settings.server.host)
    return None


def _tenant(holder: Holder | None, path: str) -> Tenant:
    if holder is None:
        raise Unauthorized("The API key is unknown. Check it, or ask the operator for a new one.")
    if holder.expires is not None and time.time() >= holder.expires:
        raise Unauthorized("The API key has expired. Ask the operator for a new one.")
    if not holder.opens(path):
        raise Forbidden("The API key does not allow this path. Use a key that allows it.")
    return holder.tenant


def _key(method: str, headers: Headers) -> bytes:
    """The API key of the request.

    Raises:
        Unauthorized: The request has none.
        Forbidden: A browser added it to a request from another site's page.
    """
    scheme, _, credentials = headers.get(b"authorization", b"").partition(b" ")
    kind = scheme.lower()
    bearer = credentials.strip() if kind == b"bearer" else None
    plain = headers.get(_API_KEY)
    if plain is not None and bearer not in {None, plain}:
        raise Unauthorized(
            "The headers Authorization and x-api-key have different keys. Send one of them."
        )
    key = bearer if plain is None else plain
    if key is not None:
        return key
    if kind == b"basic":
        _check_own_page(method, headers)
        try:
            pair = base64.b64decode(credentials.strip(), validate=True)
        except binascii.Error:
            pair = b""
        return pair.partition(b":")[2]
    raise Unauthorized(
        "The request has no API key. Send the header Authorization: Bearer KEY, or x-api-key: KEY."
    )


def _check_own_page(method: str, headers: Headers) -> None:
    """Refuses browser requests from pages of another site, except following a link.

    https://www.w3.org/TR/fetch-metadata/. Over plain HTTP between machines browsers omit these
    headers; they still send `Origin` with every method that is not safe.
    """
    site = headers.get(b"sec-fetch-site")
    if site in _OWN_PAGES:
        return
    if site is None:
        origin = headers.get(b"origin")
        if origin is None or method in _SAFE:
            return
        if origin.partition(b"://")[2] == headers.get(b"host"):
            return
    elif (
        method in _SAFE
        and headers.get(b"sec-fetch-mode") == b"navigate"
        and headers.get(b"sec-fetch-dest") == b"document"
    ):
        return
    raise Forbidden(
        "The request came from a page of another site. Use this server's own console, send a "
        "key, or have the operator list the page's origin in the setting cors_origins."
    )


def _check_host(headers: Headers) -> None:
    """Refuses public host names: any web site can point its own name at this machine."""
    host = headers.get(b"host")
    if host is not None and not _PRIVATE_HOST.fullmatch(host):
        raise Forbidden(
            "The Host header has a public name, and this server needs no key. Use its address, "
            "localhost, or a name without a dot or one that ends in .localhost, .local or "
            ".internal; or have the operator set keys_file or allow_anyone."
        )


async def _refuse(
    error: Unauthorized | Forbidden, scope: Scope, receive: Receive, send: Send
) -> None:
    response = error_response(reported(error, record_of(HTTPConnection(scope))), scope)
    if isinstance(error, Unauthorized):
        # https://www.rfc-editor.org/rfc/rfc9110#section-11.6.1
        response.headers.append("www-authenticate", 'Bearer realm="silkline"')
        if _may_prompt_for_password(dict(scope["headers"])):
            response.headers.append("www-authenticate", 'Basic realm="silkline", charset="UTF-8"')
    await response(scope, receive, send)


def _may_prompt_for_password(headers: Headers) -> bool:
    """Whether the browser may prompt for a password: not if the page sent a key itself.

    Such a page reports the wrong key itself. (Chromium would also discard its saved password, so
    the page's next request would have neither, and the user would be prompted again.)
    """
    if _API_KEY in headers or headers.get(b"authorization", b"").lower().startswith(b"bearer"):
        return False
    mode = headers.get(b"sec-fetch-mode")
    if mode is None:
        return b"text/html" in headers.get(b"accept", b"")
    return mode == b"navigate" or headers.get(b"sec-fetch-site") == b"same-origin"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_loopback(host: str) -> None:
    if not _is_loopback(host):
        raise ConfigError(
            f"The gateway would listen on {host or 'every address'} without keys, open to anyone "
            "who can reach it. Set keys_file (`silkline key NAME --into FILE` creates a key), or "
            "set allow_anyone = true if that is intended."
        )
