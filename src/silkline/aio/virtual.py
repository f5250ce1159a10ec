"""An event loop in virtual time: its clock jumps to the next timer, so hours take seconds.

What runs on it must wait for timers and for other tasks only: it polls no socket and no thread.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

_Result = TypeVar("_Result")


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop that never sleeps."""

    def __init__(self) -> None:
        self.moment = 0.0
        super().__init__(_Jump(self))

    def time(self) -> float:
        """The virtual time in seconds; 0 at the start."""
        return self.moment


class _Jump(selectors.SelectSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("everything waits for something that will never happen")
        self._loop.moment += max(0.0, timeout)
        return []


def run(main: Coroutine[Any, Any, _Result]) -> _Result:
    """Runs a coroutine to its end in virtual time.

    Raises:
        RuntimeError: It waits for something that is no timer.
    """
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def now() -> float:
    """The time of the running loop, in seconds."""
    return asyncio.get_running_loop().time()
