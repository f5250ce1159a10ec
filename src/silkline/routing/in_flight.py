"""Which requests an engine holds, to know the suspects when it falls."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from silkline.core import Request
from silkline.engines.base import Engine


class InFlight:
    """The requests of each engine."""

    def __init__(self) -> None:
        self._by_engine: WeakKeyDictionary[Engine, dict[int, Request]] = WeakKeyDictionary()

    @contextmanager
    def on(self, engine: Engine, request: Request) -> Generator[None, None, None]:
        """The request is on the engine while the block runs."""
        requests = self._by_engine.setdefault(engine, {})
        requests[id(request)] = request
        try:
            yield
        finally:
            requests.pop(id(request), None)

    def fallen(self, engine: Engine) -> list[Request] | None:
        """Those that were on an engine when it fell; None when that was asked before."""
        requests = self._by_engine.pop(engine, None)
        return None if requests is None else list(requests.values())
