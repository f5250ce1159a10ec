"""Compiles constraints in a thread, and keeps the newest results."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Generic, TypeVar

from silkline.core import Constraint, ConstraintKind
from silkline.engines.deadline import in_time

T = TypeVar("T")

_MAX_SECONDS = 2.0
"""How long a request waits for its constraint."""

_MAX_ENTRIES = 256
_MAX_CHARS = 4 * 1024 * 1024
"""Maximum results kept, and characters of their constraints."""

_Key = tuple[ConstraintKind, str]


class CompiledConstraints(Generic[T]):
    """The compiled constraints of an engine, the last used ones kept."""

    def __init__(self, compile_one: Callable[[Constraint], T], name: str) -> None:
        """Creates an empty cache.

        Args:
            compile_one: Compiles a constraint in bounded time; runs in a thread, one at a time.
            name: The thread's name.
        """
        self._compile_one = compile_one
        self._thread = ThreadPoolExecutor(1, name)
        self._kept: OrderedDict[_Key, T] = OrderedDict()
        self._chars = 0

    def __len__(self) -> int:
        """The number of results that are kept."""
        return len(self._kept)

    def __contains__(self, constraint: Constraint) -> bool:
        """Whether the result for a constraint is kept."""
        return _key(constraint) in self._kept

    async def get(self, constraint: Constraint, deadline: float) -> T:
        """Returns a compiled constraint.

        Args:
            constraint: Its name and description do not matter.
            deadline: The request's deadline, on the event loop's clock.

        Raises:
            InvalidRequest: It cannot be enforced.
            DeadlineExceeded: It was not compiled within 2 s, or by the deadline.
        """
        key = _key(constraint)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        loop = asyncio.get_running_loop()
        compiled = loop.run_in_executor(self._thread, partial(self._compile_one, constraint))
        limit = min(deadline, loop.time() + _MAX_SECONDS)
        found = await in_time(compiled, limit, until="the form of its answer was compiled")
        self._keep(key, found)
        return found

    def close(self) -> None:
        """Compiles nothing more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _keep(self, key: _Key, found: T) -> None:
        if key not in self._kept:
            self._chars += len(key[1])
        self._kept[key] = found
        while len(self._kept) > _MAX_ENTRIES or self._chars > _MAX_CHARS:
            (_, text), _ = self._kept.popitem(last=False)
            self._chars -= len(text)


def _key(constraint: Constraint) -> _Key:
    return constraint.kind, constraint.text
