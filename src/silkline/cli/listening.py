"""The address that the gateway listens on: whether it can be taken, why not, how to reach it."""

from __future__ import annotations

import errno
import os
import socket

from silkline.errors import EnvironmentFault

MAX_PORT = 65535
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - told apart, not bound


def url_of(host: str, port: int) -> str:
    """The URL at which a server on this machine is reached that listens on the address."""
    return f"http://{shown(_LOOPBACK.get(host, host), port)}"


def shown(host: str, port: int) -> str:
    """`host:port`, an IPv6 address in brackets."""
    return f"{f'[{host}]' if ':' in host else host}:{port}"


def check_listening(host: str, port: int) -> None:
    """Binds every address that the host stands for, as the server does, and lets it go.

    Raises:
        OSError: One cannot be bound, or the host has no address; `listening_fault` explains it.
    """
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    for family, kind, protocol, _, address in found:
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind(address)


def listening_fault(host: str, port: int, error: OSError) -> tuple[str, str | None]:
    """Why the address cannot be taken, and the command that takes another where that helps."""
    address = shown(host, port)
    if isinstance(error, socket.gaierror):
        return f"cannot listen on {address}: the host {host} cannot be resolved.", None
    why = os.strerror(error.errno) if error.errno else "the address cannot be bound"
    if error.errno != errno.EADDRINUSE:
        return f"cannot listen on {address}: {why}.", None
    other = port + 1 if port < MAX_PORT else 0
    return f"cannot listen on {address}: {why}.", f"silkline up --port {other}"


def not_listening(host: str, port: int, error: OSError) -> EnvironmentFault:
    """The same as the error that ends `silkline up`."""
    why, remedy = listening_fault(host, port, error)
    return EnvironmentFault(f"The gateway {why}", remedy=remedy)
