"""The directory of workers: an actor that knows where the workers of each application listen.

What it knows is soft: workers and gateways tell it about themselves again and again. When its node
ends, Ray starts an empty one elsewhere, which is complete a second later. It gets and gives JSON as
bytes only, so nothing of Silkline is pickled.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from silkline.engines.worker.start_errors import FaultKind
from silkline.engines.worker.status import WorkerStatus

_T = TypeVar("_T")

RENEW_SECONDS = 1.0
"""How often workers and gateways tell about themselves."""

LEASE_SECONDS = 6.0
"""After this time without a word, a worker or a gateway counts as gone."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker tells.

    Attributes:
        id: Identifies its start.
        number: Counts what it has told.
        status: Its status; the socket is its address with its secret, empty before it serves.
        draining: Whether it only finishes its requests.
        fault: The kind of the error with which its start failed; None if it did not.
        message: The error's message.
    """

    id: str
    number: int
    status: WorkerStatus
    draining: bool = False
    fault: FaultKind | None = None
    message: str = ""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What waits in gateways for the workers of an application.

    Attributes:
        waiting: Requests that wait for a free worker.
        backlog_seconds: Time that the workers need for them, at their measured rate.
    """

    waiting: int = 0
    backlog_seconds: float = 0.0


NO_LOAD = Load()


@dataclass(slots=True)
class _Application:
    workers: dict[str, tuple[float, bytes]] = field(default_factory=dict)
    gateways: dict[str, tuple[float, Load]] = field(default_factory=dict)


class Directory:
    """The actor; `clock` returns monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._applications: dict[str, _Application] = {}

    def renew(self, application: str, worker: str, entry: bytes) -> bytes:
        """Takes the entry of a worker, and returns the `Load` of all gateways."""
        found = self._found(application)
        found.workers[worker] = (self._clock(), entry)
        loads = [load for _, load in found.gateways.values()]
        total = Load(
            waiting=sum(load.waiting for load in loads),
            backlog_seconds=max((load.backlog_seconds for load in loads), default=0.0),
        )
        return msgspec.json.encode(total)

    def look(self, application: str, gateway: str, load: bytes) -> list[bytes]:
        """Takes the `Load` of a gateway, and returns the entries of all workers."""
        found = self._found(application)
        found.gateways[gateway] = (self._clock(), msgspec.json.decode(load, type=Load))
        return [entry for _, entry in found.workers.values()]

    def leave(self, application: str, gateway: str) -> int:
        """Forgets a gateway, and with the last one the application; returns how many are left."""
        found = self._found(application)
        found.gateways.pop(gateway, None)
        if not found.gateways:
            del self._applications[application]
        return len(found.gateways)

    def _found(self, name: str) -> _Application:
        """The application, without what has not told about itself for a lease."""
        found = self._applications.setdefault(name, _Application())
        oldest = self._clock() - LEASE_SECONDS
        found.workers = _since(oldest, found.workers)
        found.gateways = _since(oldest, found.gateways)
        return found


def _since(oldest: float, entries: Mapping[str, tuple[float, _T]]) -> dict[str, tuple[float, _T]]:
    return {name: entry for name, entry in entries.items() if entry[0] >= oldest}
