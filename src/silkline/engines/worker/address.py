"""Where a worker listens: a Unix socket of this machine, or a port of another one."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

_NETWORK = re.compile(r"tcp://(?P<secret>[\w-]+)@(?P<host>[^@/]+):(?P<port>\d{1,5})")


@dataclass(frozen=True, slots=True)
class NetworkAddress:
    """A worker's port, and the secret that a caller must send first.

    Attributes:
        host: The machine's name or address.
        port: Its port; 0 lets a server choose one.
        secret: At least 16 of `A-Z a-z 0-9 _ -`, made for one start of one worker.
    """

    host: str
    port: int
    secret: str = field(repr=False)

    def __str__(self) -> str:
        return f"tcp://{self.secret}@{self.host}:{self.port}"


WorkerAddress: TypeAlias = Path | NetworkAddress


def parse_address(text: str) -> WorkerAddress:
    """The address that was written with `str`; any other text is the path of a Unix socket."""
    found = _NETWORK.fullmatch(text)
    if found is None:
        return Path(text)
    return NetworkAddress(found["host"], int(found["port"]), found["secret"])
