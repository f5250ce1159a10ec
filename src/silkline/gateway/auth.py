"""The gate: who may ask. Pure ASGI, around all routes; what is not allowed here is not reached.

It decides on the path that the routes decide on (`scope["path"]`, made from the request line
alone), never on a URL that is put together with the Host header (CVE-2026-48710), and it is closed
for every path that it does not know.

A key in the `Authorization` header that a program sent is proof by itself. What a browser adds on
its own is not: Basic credentials, and the right to reach a server that asks for no key. These are
taken from this server's own pages only; the latter from pages of the origins in `cors_origins` too.
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

from silkline.admission.tenant import ANYONE, Tenant
from silkline.config import Settings
from silkline.errors import ConfigError, Forbidden, Unauthorized
from silkline.gateway.cors import Cors, is_preflight
from silkline.gateway.failures import error_response, reported
from silkline.gateway.keys import Holder
from silkline.gateway.keys_file import KeysFile
from silkline.gateway.request_record import record_of

OPEN_PATHS = {b"/live", b"/ready"}
"""What probes may reach: they have no key."""

_SAFE = {"GET", "HEAD"}
_OWN_PAGES = {b"same-origin", b"none"}

_HERE = re.compile(
    rb"""(?: \[ [0-9a-f:.]+ (?: % [\w.~%-]+ )? \] | [0-9.]+    # an address
        | [\w-]+                                              # one label
        | (?: [\w-]+ \. )* (?: localhost | local | internal | test | home\.arpa ) \.?
        ) (?: : \d* )?""",
    re.VERBOSE | re.IGNORECASE,
)
"""Hosts that no public DNS gives, so that no web site can point one at this machine.

The domains are reserved: by RFC 6761 (`localhost`, `test`), RFC 6762 (`local`), RFC 8375
(`home.arpa`) and ICANN (`internal`). Containers reach their host by such names.
"""

Headers = dict[bytes, bytes]


class Gate:
    """Lets a request through to the application, or answers 401 or 403; see the module."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        """Reads the keys.

        Raises:
            ConfigError: The keys file is wrong; or there is none, and the server would listen where
                others reach it.
        """
        self._app = app
        self._anyone = settings.auth.allow_anyone
        self._cors = Cors(settings.auth.cors_origins)
        self._keys = read_keys(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request; watches the keys for as long as the application lives."""
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
            return
        if scope["type"] != "http":  # a WebSocket, of which there is none
            await send({"type": "websocket.close", "code": 1008})
            return
        try:
            if is_preflight(scope):
                await self._cors.preflight_response(dict(scope["headers"]))(scope, receive, send)
                return
            tenant = self._admitted(scope)
        except (Unauthorized, Forbidden) as error:
            await _refuse(error, scope, receive, send)
            return
        if tenant is not ANYONE:
            record_of(HTTPConnection(scope)).tenant = tenant
        await self._app(scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._keys is None:
            await self._app(scope, receive, send)
            return
        async with self._keys.watched():
            await self._app(scope, receive, send)

    def _admitted(self, scope: Scope) -> Tenant:
        """Who asks; raises where they may not."""
        if scope["raw_path"] in OPEN_PATHS and scope["method"] in _SAFE:
            return ANYONE
        headers: Headers = dict(scope["headers"])
        if self._keys is None:
            if not self._cors.allows(headers):
                _check_own_page(scope["method"], headers)
            if not self._anyone:
                _check_host(headers)
            return ANYONE
        if sum(name == b"authorization" for name, _ in scope["headers"]) > 1:
            raise Unauthorized("There is more than one Authorization header. Send one.")
        holder = self._keys.ring.holder(_key(scope["method"], headers))
        return _checked(holder, scope["path"])


def read_keys(settings: Settings) -> KeysFile | None:
    """The keys that the settings name, if any.

    Raises:
        ConfigError: As `Gate` does.
    """
    if settings.auth.keys_file:
        return KeysFile(Path(settings.auth.keys_file).expanduser())
    if not settings.auth.allow_anyone:
        _check_loopback(settings.server.host)
    return None


def _checked(holder: Holder | None, path: str) -> Tenant:
    if holder is None:
        raise Unauthorized("The API key is not known here. Check it, or ask for a new one.")
    if holder.expires is not None and time.time() >= holder.expires:
        raise Unauthorized("The API key has expired. Ask for a new one.")
    if not holder.opens(path):
        raise Forbidden("The API key is not meant for this path. Use one that is.")
    return holder.tenant


def _key(method: str, headers: Headers) -> bytes:
    """The key that the request shows.

    Raises:
        Unauthorized: It shows none.
        Forbidden: A browser added it to a request that another site's page made.
    """
    scheme, _, credentials = headers.get(b"authorization", b"").partition(b" ")
    kind = scheme.lower()
    if kind == b"bearer":
        return credentials.strip()
    if kind == b"basic":
        _check_own_page(method, headers)
        try:
            pair = base64.b64decode(credentials.strip(), validate=True)
        except binascii.Error:
            pair = b""
        return pair.partition(b":")[2]
    raise Unauthorized("This server asks for an API key. Send Authorization: Bearer KEY.")


def _check_own_page(method: str, headers: Headers) -> None:
    """Refuses what a browser sends for a page of another site, but for following a link.

    https://www.w3.org/TR/fetch-metadata/. Browsers leave these headers out over plain HTTP between
    machines; `Origin` remains there, on all that is not safe.
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
        "A page of another site sent this. Use this server's own console or a key, or list the "
        "page's origin in the setting cors_origins."
    )


def _check_host(headers: Headers) -> None:
    """Refuses a public name: with its own DNS, any web site can point one at this machine."""
    host = headers.get(b"host")
    if host is not None and not _HERE.fullmatch(host):
        raise Forbidden(
            "This server asks for no key, so it does not answer under a public host name. Use its "
            "address, localhost, or a name without a dot or that ends in .localhost, .local or "
            ".internal; or set keys_file or allow_anyone."
        )


async def _refuse(
    error: Unauthorized | Forbidden, scope: Scope, receive: Receive, send: Send
) -> None:
    response = error_response(reported(error, record_of(HTTPConnection(scope))))
    if isinstance(error, Unauthorized):
        # https://www.rfc-editor.org/rfc/rfc9110#section-11.6.1
        response.headers.append("www-authenticate", 'Bearer realm="silkline"')
        if _can_ask_a_person(dict(scope["headers"])):
            response.headers.append("www-authenticate", 'Basic realm="silkline", charset="UTF-8"')
    await response(scope, receive, send)


def _can_ask_a_person(headers: Headers) -> bool:
    """Whether the browser may ask for a password: not for a page that sent a key of its own.

    Such a page says itself that the key is wrong. (Chromium then forgets the password, too, so that
    the page's next request has neither, and the person is asked again.)
    """
    if headers.get(b"authorization", b"").lower().startswith(b"bearer"):
        return False
    mode = headers.get(b"sec-fetch-mode")
    if mode is None:
        return b"text/html" in headers.get(b"accept", b"")
    return mode == b"navigate" or headers.get(b"sec-fetch-site") == b"same-origin"


def _check_loopback(host: str) -> None:
    try:
        here = ipaddress.ip_address(host).is_loopback
    except ValueError:
        here = host == "localhost"
    if not here:
        raise ConfigError(
            f"The gateway would listen on {host or 'every address'} and answer anyone who reaches "
            "it. Set keys_file (`silkline key NAME --into FILE` makes a key), or allow_anyone = "
            "true where that is meant."
        )
