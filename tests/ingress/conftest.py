"""What the tests of this folder share."""

from __future__ import annotations

import socket
from typing import Any

import pytest


@pytest.fixture
def dialled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every address to which a socket of this process tries to connect.

    Attempts that would leave the machine are refused.
    """
    addresses: list[str] = []
    connect = socket.socket.connect

    def record(self: socket.socket, address: Any) -> None:
        if self.family in {socket.AF_INET, socket.AF_INET6}:
            addresses.append(address[0])
            if not address[0].startswith("127."):
                raise ConnectionRefusedError
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", record)
    return addresses
