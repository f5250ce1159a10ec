"""An event loop whose time passes as soon as nothing is left to do: hours in a moment."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

_Result = TypeVar("_Result")


class VirtualLoop(asyncio.SelectorEventLoop):
    """Does not sleep: its clock jumps to the next timer."""

    def __init__(self) -> None:
        self.moment = 0.0
        super().__init__(_Jump(self))

    def time(self) -> float:
        return self.moment


class _Jump(selectors.SelectSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("everything waits for something that will never happen")
        self._loop.moment += max(0.0, timeout)
        return super().select(0)


def run(test: Coroutine[Any, Any, _Result]) -> _Result:
    """Runs a coroutine to its end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(test)


def now() -> float:
    """The virtual time."""
    return asyncio.get_running_loop().time()
