"""Tracks which requests are in flight on each engine, to know the suspects when a worker dies."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from silkline.core import Request
from silkline.engines.base import Engine


class InFlight:
    """The requests in flight on each engine."""

    def __init__(self) -> None:
        self._by_engine: WeakKeyDictionary[Engine, dict[int, Request]] = WeakKeyDictionary()

    @contextmanager
    def on(self, engine: Engine, request: Request) -> Generator[None, None, None]:
        """Counts the request as in flight on the engine while the block runs."""
        requests = self._by_engine.setdefault(engine, {})
        requests[id(request)] = request
        try:
            yield
        finally:
            requests.pop(id(request), None)

    def requests_lost_with(self, engine: Engine) -> list[Request] | None:
        """The requests in flight on an engine that died; None from the second call on."""
        requests = self._by_engine.pop(engine, None)
        return None if requests is None else list(requests.values())
