"""Whether the gateway takes requests, and how many it holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Lifecycle:
    """Counts open requests and remembers that draining has begun."""

    def __init__(self) -> None:
        self._draining = False
        self._open = 0

    @property
    def draining(self) -> bool:
        """Whether the server is on its way out: what runs may end, nothing new is taken."""
        return self._draining

    @property
    def open_requests(self) -> int:
        """Requests that have come and not yet been answered."""
        return self._open

    def begin_draining(self) -> None:
        """From now on the server is not ready; there is no way back."""
        self._draining = True

    @contextmanager
    def request(self) -> Iterator[None]:
        """Counts a request while it is open."""
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1
