"""Parses the URLs of images by one strict grammar, and applies the host rules.

A URL is parsed once, and the HTTP client gets the object that was checked, so no second parser can
read a different host from the same text. Before the path, the grammar is stricter than RFC 3986:
http and https only, no userinfo, IP addresses only in canonical form, host names of letters,
digits, hyphens and underscores. Names in other scripts are accepted if they encode to a real IDNA
name, not if they merely fold to ASCII.

Path and query are sent byte for byte, since clients sign them: nothing is decoded, requoted, merged
or dropped, not even dot segments or an empty query. Only what HTTP cannot carry is percent-encoded:
non-ASCII characters as UTF-8, and in a redirect also spaces. A fragment is dropped. Backslashes and
control characters are refused, and so are spaces in a client's own URL.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from yarl import URL

from silkline.config import FetchSettings
from silkline.errors import ConfigError, InvalidRequest, UrlBlocked
from silkline.ingress.addresses import IPAddress, is_public

MAX_URL_CHARS = 8192
MAX_HOST_CHARS = 253
MAX_PORT = 65535
DEFAULT_PORTS = {"http": 80, "https": 443}

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_URL = re.compile(
    r"//"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]/?#@:%]+)"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?"
    r"(?P<rest>[/?][^#]*)?"
    r"(?:#.*)?"
)
_USER = re.compile(r"//[^/?#]*@")
_NOT_SENDABLE = re.compile(r"[\x00-\x20\x7f\\]")
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]+")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_HOST_AND_PORT = re.compile(r"(?P<host>\[[^\]]+\]|[^:\[\]]+)(?::(?P<port>[1-9][0-9]{0,4}))?")

_FILE_PATH = re.compile(r"[A-Za-z]:[\\/]|/(?!/)|\\|~|\.{1,2}[\\/]")
_HOST_BEFORE_PORT = re.compile(r"[^:/?#]+:[0-9]{1,5}(?:[/?#]|$)")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{64}")

_SEND_ITSELF = "Send an http or https URL, or the image itself as a data URL."


@dataclass(frozen=True, slots=True)
class ImageAddress:
    """A URL that has passed the grammar; only `parse` and `follow` create one.

    Attributes:
        url: The URL for the HTTP client; its path holds both path and query, as they were sent.
        host: The host in lower case; an IPv6 address without brackets.
        port: 1 to 65535; the scheme's default if the URL names none.
        address: The host as an IP address, None if it is a name.
    """

    url: URL
    host: str
    port: int
    address: IPAddress | None

    @property
    def scheme(self) -> str:
        """`http` or `https`."""
        return self.url.scheme


_EXAMPLE = "A data URL looks like this: data:image/jpeg;base64,<data>."


class _Unfit(ValueError):
    """A URL that is refused: `why` completes "The image's URL", `remedy` says what to send."""

    def __init__(self, why: str, remedy: str = _SEND_ITSELF) -> None:
        super().__init__(why)
        self.why = why
        self.remedy = remedy


def parse(text: str) -> ImageAddress:
    """Parses the URL of an image that a client sent.

    Raises:
        InvalidRequest: It has no scheme.
        UrlBlocked: It has a scheme other than http and https, or breaks this module's grammar.
    """
    if SCHEME.match(text) is None or _FILE_PATH.match(text) or _HOST_BEFORE_PORT.match(text):
        raise InvalidRequest(f"The image's URL {_without_scheme(text)} {_EXAMPLE}")
    try:
        return _read(text)
    except _Unfit as error:
        raise UrlBlocked(f"The image's URL {error.why}. {error.remedy}") from error


def follow(origin: ImageAddress, location: str) -> ImageAddress:
    """Resolves the URL that a redirect leads to.

    Args:
        origin: The URL that was requested.
        location: The `Location` of the response, with invalid UTF-8 bytes as lone surrogates.

    Raises:
        UrlBlocked: The new URL breaks the grammar, or changes from https to http.
    """
    try:
        target = _read(_resolved(origin, location))
    except _Unfit as error:
        raise UrlBlocked(
            f"The image's URL redirects to another one, which {error.why}. Send the final URL of "
            "the image, or the image as a data URL."
        ) from error
    if origin.scheme == "https" and target.scheme == "http":
        raise UrlBlocked("The image's URL redirects from https to http. Send the final URL.")
    return target


class HostRules:
    """The hosts that images may be fetched from: the operator's settings and public addresses."""

    def __init__(self, settings: FetchSettings) -> None:
        """Reads the settings.

        Raises:
            ConfigError: An entry of `allowed_hosts` or `private_hosts` is malformed.
        """
        names = [_allowed_host(entry) for entry in settings.allowed_hosts]
        self._exact = frozenset(name for name in names if not name.startswith("."))
        self._suffixes = tuple(name for name in names if name.startswith("."))
        self._private = frozenset(_private_host(entry) for entry in settings.private_hosts)

    def admit(self, target: ImageAddress) -> bool:
        """Checks a host. Returns whether it may have a private address; most may not.

        Raises:
            UrlBlocked: Nothing may be fetched from this host.
        """
        host = target.host
        listed = host in self._exact or host.endswith(self._suffixes)
        if (self._exact or self._suffixes) and not listed:
            raise UrlBlocked(
                "This server does not fetch images from the image's host. Send the image as a data "
                "URL."
            )
        default = target.port == DEFAULT_PORTS[target.scheme]
        if (host, target.port) in self._private or (default and (host, None) in self._private):
            return True
        if target.address is not None:
            check_public(target.address)
        elif "." not in host:
            raise UrlBlocked("The image's host is not a public name. Send a public URL.")
        return False


def check_public(address: IPAddress) -> None:
    """Checks that an address is on the public internet.

    Raises:
        UrlBlocked: It is not.
    """
    if not is_public(address):
        raise UrlBlocked(
            "The image's URL does not lead to the public internet. Send a public URL, or the "
            "image as a data URL."
        )


def _without_scheme(text: str) -> str:
    """Says what a text without a scheme probably is, and what to send instead."""
    if not text:
        return "is empty. Send an http, https or data URL."
    if ";base64," in text[:MAX_HOST_CHARS]:
        return "lacks 'data:' at its beginning."
    if _BASE64.match(text):
        return "is Base64 without a prefix."
    if _FILE_PATH.match(text):
        return "is the path of a file, which is not read. Send the file's content as a data URL."
    before = "https:" if text.startswith("//") else "https://"
    return f"has no scheme. Put {before} before it, or send the image as a data URL."


def _read(text: str) -> ImageAddress:
    """Parses an absolute URL. Raises `_Unfit` if it is refused."""
    scheme, _, behind = text.partition(":")
    scheme = scheme.lower()
    if scheme not in DEFAULT_PORTS:
        raise _Unfit(f"has the scheme '{scheme[:32]}'; images are fetched by http and https only")
    if len(text) > MAX_URL_CHARS:
        raise _Unfit(f"is longer than {MAX_URL_CHARS} characters")
    if _NOT_SENDABLE.search(behind):
        raise _Unfit(
            "has a space, a control character or a backslash", "Percent-encode it: a space is %20."
        )
    match = _URL.fullmatch(behind)
    if match is None:
        user = _USER.match(behind)
        raise _Unfit("has a user name", "Send it without.") if user else _malformed()
    port = int(match["port"] or DEFAULT_PORTS[scheme])
    host, address = _canonical_host(match["host"])
    literal = f"[{host}]" if isinstance(address, IPv6Address) else host
    authority = f"{literal}:{port}" if match["port"] else literal
    target = _encoded("/" + (match["rest"] or "").removeprefix("/"))
    try:
        # The query goes into the path: as a separate part, an empty one would lose its "?".
        url = URL.build(scheme=scheme, authority=authority, path=target, encoded=True)
        agreed = (url.scheme, url.raw_host, url.port) == (scheme, host, port)
        readable = url.host is not None  # fails on a name that only looks like IDNA
    except ValueError as error:
        raise _malformed() from error
    if not agreed or not readable or url.raw_user is not None or url.raw_password is not None:
        raise _malformed()
    return ImageAddress(url, host, port, address)


def _encoded(text: str) -> str:
    """Percent-encodes all non-ASCII characters.

    U+DC80 to U+DCFF stand for bytes that are not UTF-8, as the HTTP client gives them in headers.
    Raises `_Unfit` on any other lone surrogate.
    """
    try:
        return _BEYOND_ASCII.sub(_percent, text)
    except UnicodeEncodeError as error:
        raise _Unfit("has half of a surrogate pair, which is not a character") from error


def _percent(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "surrogateescape"))


def _resolved(origin: ImageAddress, location: str) -> str:
    """The absolute URL of a redirect, by RFC 3986 section 5.2, with spaces encoded.

    Dot segments are removed only from a relative path; the rest stays as the server wrote it.
    """
    reference = location.partition("#")[0].replace(" ", "%20")
    if SCHEME.match(reference):
        return reference
    if reference.startswith("//"):
        return f"{origin.scheme}:{reference}"
    target = origin.url.raw_path
    path = target.partition("?")[0]
    if reference.startswith("/"):
        target = reference
    elif reference.startswith("?"):
        target = path + reference
    elif reference:
        relative, mark, query = reference.partition("?")
        merged = path.rpartition("/")[0] + "/" + relative
        target = _without_dots(merged) + mark + query
    return f"{origin.url.origin()}{target}"


def _without_dots(path: str) -> str:
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in {".", ".."}:
        kept.append("")
    return "/" + "/".join(kept)


def _malformed() -> _Unfit:
    return _Unfit("is malformed", "Send http://host/path or https://host/path with a plain host.")


def _canonical_host(text: str) -> tuple[str, IPAddress | None]:
    """The host to connect to, and its address if it is one."""
    try:
        if text.startswith("["):
            literal = IPv6Address(text[1:-1])
            return str(literal), literal
        host = text.lower() if text.isascii() else _idna(text)
        labels = host.split(".")
        if _NUMBER.fullmatch(labels[-1]):
            return host, IPv4Address(host)
    except ValueError as error:
        raise _malformed() from error
    if len(host) > MAX_HOST_CHARS or not all(_LABEL.fullmatch(label) for label in labels):
        raise _malformed()
    return host, None


def _idna(text: str) -> str:
    host = URL.build(scheme="http", host=text).raw_host or ""
    if not any(label.startswith("xn--") for label in host.split(".")):
        raise _malformed()
    return host


def _allowed_host(entry: str) -> str:
    """Keeps `example.com`; turns `*.example.com` into `.example.com`."""
    wildcard = entry.startswith("*.")
    name = entry[2:] if wildcard else entry
    try:
        host, address = _canonical_host(name if ":" not in name else f"[{name.strip('[]')}]")
    except _Unfit as error:
        raise _bad_entry("allowed_hosts", entry, "example.com or *.example.com") from error
    if wildcard and address is not None:
        raise _bad_entry("allowed_hosts", entry, "example.com or *.example.com")
    return f".{host}" if wildcard else host


def _private_host(entry: str) -> tuple[str, int | None]:
    """Host and port; None as port means the default port of either scheme."""
    expected = "host:port, such as images.internal:8080 or [::1]:8080"
    match = _HOST_AND_PORT.fullmatch(entry)
    if match is None or int(match["port"] or 1) > MAX_PORT:
        raise _bad_entry("private_hosts", entry, expected)
    try:
        host, _ = _canonical_host(match["host"])
    except _Unfit as error:
        raise _bad_entry("private_hosts", entry, expected) from error
    return host, int(match["port"]) if match["port"] else None


def _bad_entry(setting: str, entry: str, expected: str) -> ConfigError:
    return ConfigError(f"The entry {entry!r} of {setting} is malformed; expected {expected}.")
