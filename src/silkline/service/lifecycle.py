"""The gateway's lifecycle: whether it accepts requests, and how many are open."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Lifecycle:
    """Counts open requests and connections turned away; knows whether the server is draining."""

    def __init__(self) -> None:
        self._leaving = False
        self._draining = False
        self._open = 0
        self._turned_away: Counter[str] = Counter()
        self._at_draining: list[Callable[[], None]] = []
        self._at_hangup: list[Callable[[], None]] = []

    @property
    def leaving(self) -> bool:
        """Whether the server reports that it is not ready; it still answers requests."""
        return self._leaving

    @property
    def draining(self) -> bool:
        """Whether the server is draining: it accepts no new requests."""
        return self._draining

    @property
    def open_requests(self) -> int:
        """Requests that have arrived and are not yet answered."""
        return self._open

    def begin_leaving(self) -> None:
        """Makes the server not ready, for good."""
        self._leaving = True

    def begin_draining(self) -> None:
        """Makes the server refuse requests, for good."""
        self._leaving = True
        self._draining = True
        while self._at_draining:
            self._at_draining.pop()()

    def at_draining(self, call: Callable[[], None]) -> None:
        """Registers a callback for when draining begins."""
        self._at_draining.append(call)

    def at_hangup(self, call: Callable[[], None]) -> None:
        """Registers a callback that reads a file again at SIGHUP."""
        self._at_hangup.append(call)

    @property
    def rereads(self) -> bool:
        """Whether SIGHUP reads files again, and does not end the server."""
        return bool(self._at_hangup)

    def reread(self) -> None:
        """Calls what SIGHUP is for; in the event loop."""
        for call in self._at_hangup:
            call()

    def turned_away(self, reason: str) -> None:
        """Counts a connection that the server closed early, by reason."""
        self._turned_away[reason] += 1

    def connections_turned_away(self) -> dict[str, int]:
        """Returns how many connections the server closed early, by reason."""
        return dict(self._turned_away)

    @contextmanager
    def request(self) -> Iterator[None]:
        """Counts a request while it is open."""
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1
