"""The gateway's listening address: checks it, explains why it cannot be bound, gives its URL."""

from __future__ import annotations

import errno
import os
import socket

from silkline.errors import EnvironmentFault

MAX_PORT = 65535
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound


def url_of(host: str, port: int) -> str:
    """Returns the URL that reaches, from this machine, a server that listens on the address."""
    return f"http://{shown(_LOOPBACK.get(host, host), port)}"


def shown(host: str, port: int) -> str:
    """Formats `host:port`; an IPv6 address is put in brackets."""
    return f"{f'[{host}]' if ':' in host else host}:{port}"


def check_listening(host: str, port: int) -> None:
    """Binds every address that the host resolves to, as the server does, and releases it.

    Raises:
        OSError: An address cannot be bound, or the host has none; `listening_fault` explains it.
    """
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    for family, kind, protocol, _, address in found:
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind(address)


def listening_fault(host: str, port: int, error: OSError) -> tuple[str, str | None]:
    """Returns why the address cannot be bound, and a command with another port if that helps."""
    address = shown(host, port)
    if isinstance(error, socket.gaierror):
        return f"cannot listen on {address}: the host {host} cannot be resolved.", None
    why = os.strerror(error.errno) if error.errno else "the address cannot be bound"
    if error.errno != errno.EADDRINUSE:
        return f"cannot listen on {address}: {why}.", None
    other = port + 1 if port < MAX_PORT else 0
    return f"cannot listen on {address}: {why}.", f"silkline up --port {other}"


def not_listening(host: str, port: int, error: OSError) -> EnvironmentFault:
    """The error that ends `silkline up` when the address cannot be bound."""
    why, remedy = listening_fault(host, port, error)
    return EnvironmentFault(f"The gateway {why}", remedy=remedy)
