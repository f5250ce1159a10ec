"""The gateway's listening address: checks it, explains why it cannot be bound, gives its URL."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import cast

from silkline.errors import EnvironmentFault

SocketAddress = tuple[str | int, ...]
"""An address of the families AF_INET (host, port) or AF_INET6 (host, port, flow, scope)."""

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
    for family, address in _addresses(host, port):
        _bound(family, address, socket.SO_REUSEADDR).close()


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


def check_free(host: str, port: int) -> None:
    """Checks that the gateway can listen. Raises `EnvironmentFault` if the address is in use."""
    try:
        check_listening(host, port)
    except OSError as error:
        raise not_listening(host, port, error) from error


@contextmanager
def reserved(host: str, port: int) -> Iterator[list[socket.socket]]:
    """Binds every address that the host resolves to, for sockets that share the port.

    A socket that is bound and does not listen gets no connections. It keeps the port from other
    users, while processes of this user bind it too, with SO_REUSEPORT. A port of 0 becomes the same
    free port on every address.

    Raises:
        EnvironmentFault: An address cannot be bound.
    """
    with ExitStack() as stack:
        sockets: list[socket.socket] = []
        try:
            for family, (name, _, *scope) in _addresses(host, port):
                free = sockets[0].getsockname()[1] if sockets else port
                bound = shared_socket(family, (name, free, *scope))
                sockets.append(stack.enter_context(bound))
        except OSError as error:
            raise not_listening(host, port, error) from error
        yield sockets


def shared_socket(family: int, address: SocketAddress) -> socket.socket:
    """Binds an address whose port other processes of this user may bind too.

    Raises:
        OSError: It cannot be bound.
    """
    return _bound(family, address, socket.SO_REUSEADDR, socket.SO_REUSEPORT)


def _bound(family: int, address: SocketAddress, *options: int) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        for option in options:
            bound.setsockopt(socket.SOL_SOCKET, option, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound


def _addresses(host: str, port: int) -> list[tuple[int, SocketAddress]]:
    """Family and address of everything that the host resolves to; empty means every address."""
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return [(int(family), cast("SocketAddress", address)) for family, _, _, _, address in found]
