"""URLs of pictures: one strict grammar, one parse, and the rules for hosts.

A URL is parsed once, and the object that was checked is the object that the HTTP client gets, so
that no second parser can read another host out of the same text. The grammar is narrower than
RFC 3986: http and https only, no userinfo, no backslash, space or control character, IP addresses
only in their one canonical form, host names of letters, digits, hyphens and underscores. Names in
other scripts are taken when they encode to a real IDNA name, not when they only fold to ASCII.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from yarl import URL

from silkline.config import FetchSettings
from silkline.errors import ConfigError, UrlBlocked
from silkline.ingress.addresses import IPAddress, is_public

MAX_URL_CHARS = 8192
MAX_HOST_CHARS = 253
MAX_PORT = 65535
DEFAULT_PORTS = {"http": 80, "https": 443}
HAS_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")

_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]/?#@:%]+)"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?"
    r"(?P<rest>[/?][^#]*)?"
    r"(?:#.*)?"
)
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_HOST_AND_PORT = re.compile(r"(?P<host>\[[^\]]+\]|[^:\[\]]+)(?::(?P<port>[1-9][0-9]{0,4}))?")


@dataclass(frozen=True, slots=True)
class PictureUrl:
    """A URL that has passed the grammar; only `parse` and `follow` make one.

    Attributes:
        url: What the HTTP client gets.
        host: Lower case; an IPv6 address without its brackets.
        port: 1 to 65535, the scheme's own where the URL names none.
        address: The host as an address, None where it is a name.
    """

    url: URL
    host: str
    port: int
    address: IPAddress | None

    @property
    def scheme(self) -> str:
        """`http` or `https`."""
        return self.url.scheme


def parse(text: str) -> PictureUrl:
    """Reads a URL.

    Raises:
        UrlBlocked: It is not written in the strict form that this module describes.
    """
    _check_characters(text)
    match = _URL.fullmatch(text)
    if match is None:
        raise _malformed()
    scheme = match["scheme"].lower()
    if scheme not in DEFAULT_PORTS:
        raise UrlBlocked("Pictures are fetched by http and https only. Send such a URL.")
    port = int(match["port"] or DEFAULT_PORTS[scheme])
    host, address = _canonical_host(match["host"])
    literal = f"[{host}]" if isinstance(address, IPv6Address) else host
    explicit = f":{port}" if match["port"] else ""
    canonical = f"{scheme}://{literal}{explicit}{match['rest'] or '/'}"
    try:
        # What is ASCII goes out as it came: requoting breaks signed URLs.
        url = URL(canonical, encoded=canonical.isascii())
        agreed = (url.scheme, url.raw_host, url.port) == (scheme, host, port)
        readable = url.host is not None  # fails on a name that only looks like IDNA
    except ValueError as error:
        raise _malformed() from error
    if not agreed or not readable or url.raw_user is not None or url.raw_password is not None:
        raise _malformed()
    return PictureUrl(url, host, port, address)


def follow(origin: PictureUrl, location: str) -> PictureUrl:
    """The URL that a redirect leads to.

    Raises:
        UrlBlocked: It is not one that `parse` takes, or it leaves https for http.
    """
    _check_characters(location)
    if HAS_SCHEME.match(location):
        target = parse(location)
    elif location.startswith("//"):
        target = parse(f"{origin.scheme}:{location}")
    else:
        try:
            target = parse(str(origin.url.join(URL(location, encoded=True))))
        except ValueError as error:
            raise _malformed() from error
    if origin.scheme == "https" and target.scheme == "http":
        raise UrlBlocked("The picture's URL redirects from https to http. Send the last URL.")
    return target


class HostRules:
    """Which hosts pictures may come from: what the operator set, and the public internet."""

    def __init__(self, settings: FetchSettings) -> None:
        """Reads the settings.

        Raises:
            ConfigError: An entry of `allowed_hosts` or `private_hosts` is malformed.
        """
        names = [_allowed_host(entry) for entry in settings.allowed_hosts]
        self._exact = frozenset(name for name in names if not name.startswith("."))
        self._suffixes = tuple(name for name in names if name.startswith("."))
        self._private = frozenset(_private_host(entry) for entry in settings.private_hosts)

    def admit(self, target: PictureUrl) -> bool:
        """Whether the host may have an address that is not public; most may not.

        Raises:
            UrlBlocked: Nothing may be fetched from this host.
        """
        host = target.host
        listed = host in self._exact or host.endswith(self._suffixes)
        if (self._exact or self._suffixes) and not listed:
            raise UrlBlocked(
                "The picture's host is not one of those that this server takes pictures from."
            )
        default = target.port == DEFAULT_PORTS[target.scheme]
        if (host, target.port) in self._private or (default and (host, None) in self._private):
            return True
        if target.address is not None:
            check_public(target.address)
        elif "." not in host:
            raise UrlBlocked("The picture's host is not a public name. Send a public URL.")
        return False


def check_public(address: IPAddress) -> None:
    """Refuses an address that does not lie on the public internet.

    Raises:
        UrlBlocked: It does not.
    """
    if not is_public(address):
        raise UrlBlocked(
            "The picture's URL does not lead to the public internet. Send a public URL, or the "
            "picture itself as a data URL."
        )


def _malformed() -> UrlBlocked:
    return UrlBlocked(
        "The picture's URL is malformed. Send http://host/path or https://host/path with a plain "
        "host name, without user name, spaces or backslashes."
    )


def _check_characters(text: str) -> None:
    if len(text) > MAX_URL_CHARS:
        raise UrlBlocked(f"The picture's URL is longer than {MAX_URL_CHARS} characters.")
    if not text.isprintable() or " " in text or "\\" in text:
        raise _malformed()


def _canonical_host(text: str) -> tuple[str, IPAddress | None]:
    """The host as it is dialled, and its address where it is one."""
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
    """`example.com` as it is, `*.example.com` as `.example.com`."""
    wildcard = entry.startswith("*.")
    name = entry[2:] if wildcard else entry
    try:
        host, address = _canonical_host(name if ":" not in name else f"[{name.strip('[]')}]")
    except UrlBlocked as error:
        raise _bad_entry("allowed_hosts", entry, "example.com or *.example.com") from error
    if wildcard and address is not None:
        raise _bad_entry("allowed_hosts", entry, "example.com or *.example.com")
    return f".{host}" if wildcard else host


def _private_host(entry: str) -> tuple[str, int | None]:
    """Host and port; without a port the default one of either scheme is meant."""
    expected = "host:port, such as images.internal:8080 or [::1]:8080"
    match = _HOST_AND_PORT.fullmatch(entry)
    if match is None or int(match["port"] or 1) > MAX_PORT:
        raise _bad_entry("private_hosts", entry, expected)
    try:
        host, _ = _canonical_host(match["host"])
    except UrlBlocked as error:
        raise _bad_entry("private_hosts", entry, expected) from error
    return host, int(match["port"]) if match["port"] else None


def _bad_entry(setting: str, entry: str, expected: str) -> ConfigError:
    return ConfigError(f"The entry {entry!r} of {setting} is malformed; expected {expected}.")
