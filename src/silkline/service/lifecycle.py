"""Whether the gateway takes requests, how many it holds, and whom it turned away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Lifecycle:
    """Counts open requests and remembers how far the end has come."""

    def __init__(self) -> None:
        self._leaving = False
        self._draining = False
        self._open = 0
        self._turned_away: Counter[str] = Counter()
        self._at_draining: list[Callable[[], None]] = []

    @property
    def leaving(self) -> bool:
        """Whether the server asks to be sent nothing more; what comes all the same is answered."""
        return self._leaving

    @property
    def draining(self) -> bool:
        """Whether the time to answer is over: nothing new is taken."""
        return self._draining

    @property
    def open_requests(self) -> int:
        """Requests that have come and not yet been answered."""
        return self._open

    def begin_leaving(self) -> None:
        """From now on the server is not ready; there is no way back."""
        self._leaving = True

    def begin_draining(self) -> None:
        """From now on requests are refused; there is no way back."""
        self._leaving = True
        self._draining = True
        while self._at_draining:
            self._at_draining.pop()()

    def at_draining(self, call: Callable[[], None]) -> None:
        """Has `call` called when draining begins."""
        self._at_draining.append(call)

    def turned_away(self, reason: str) -> None:
        """Notes that a connection was ended before or beside a request."""
        self._turned_away[reason] += 1

    def connections_turned_away(self) -> dict[str, int]:
        """How many connections were ended so, by reason."""
        return dict(self._turned_away)

    @contextmanager
    def request(self) -> Iterator[None]:
        """Counts a request while it is open."""
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1
