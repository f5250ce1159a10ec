"""HTTP as bytes on a socket, for what no client library would send."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

Address = tuple[str, int]


@dataclass(frozen=True)
class Reply:
    """A whole response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """The code of the error body."""
        error: dict[str, Any] = msgspec.json.decode(self.body)["error"]
        if set(error) == {"message", "type", "details"}:  # the Anthropic API's form
            return str(error["details"]["error_code"])
        assert set(error) == {"message", "type", "param", "code"}
        return str(error["code"])


def head(
    target: str, method: str = "GET", headers: Iterable[tuple[str, str]] = (("host", "localhost"),)
) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")


def read_all(connection: socket.socket) -> bytes:
    """What comes until the server closes, also where it does so the hard way."""
    received = b""
    while True:
        try:
            part = connection.recv(65_536)
        except ConnectionResetError:
            return received
        if not part:
            return received
        received += part


def read_reply(connection: socket.socket, *, method: str = "GET") -> Reply:
    """One response that has a length."""
    received = b""
    while b"\r\n\r\n" not in received:
        part = connection.recv(65_536)
        assert part, f"the server closed after {received!r}"
        received += part
    start, _, rest = received.partition(b"\r\n\r\n")
    status, *lines = start.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    length = 0 if method == "HEAD" else int(headers["content-length"])
    while len(rest) < length:
        part = connection.recv(65_536)
        assert part, "the body is cut"
        rest += part
    return Reply(int(status.split()[1]), headers, rest[:length])


def exchange(address: Address, request: bytes, *, method: str = "GET") -> Reply:
    """Sends bytes on a connection of their own and reads one response."""
    with socket.create_connection(address, timeout=15) as connection:
        connection.sendall(request)
        return read_reply(connection, method=method)
