"""Time limits of the network steps of requests to a remote server."""

from __future__ import annotations

import asyncio
from types import TracebackType

from silkline.engines.remote.failures import lost, too_late
from silkline.errors import WorkerLost


class Steps:
    """Limits the time of each network step, converts its errors, and can end all running steps."""

    def __init__(self, timeout: float) -> None:
        """Takes the maximum seconds of a step; the request's deadline may be sooner."""
        self._timeout = timeout
        self._running: dict[asyncio.Timeout, float | None] = {}
        self.ended = False

    def step(
        self, deadline: float, seconds: float | None = None, *, patient: bool = False
    ) -> _Step:
        """Returns the context of one step.

        Args:
            deadline: The request's deadline, by the event loop's clock.
            seconds: Maximum seconds of the step, if not those of all steps.
            patient: Whether `heard` begins the time of this step again.
        """
        return _Step(self, deadline, self._timeout if seconds is None else seconds, patient)

    def begun(self, timeout: asyncio.Timeout, deadline: float | None) -> None:
        """Adds a running step, with its deadline if it is patient; raises `WorkerLost` at the end.

        Raises:
            WorkerLost: All steps were ended.
        """
        if self.ended:
            raise _unused()
        self._running[timeout] = deadline

    def over(self, timeout: asyncio.Timeout) -> None:
        """Removes a step."""
        self._running.pop(timeout, None)

    def heard(self) -> None:
        """Begins the time of all patient steps again; their deadlines stay."""
        limit = asyncio.get_running_loop().time() + self._timeout
        for timeout, deadline in self._running.items():
            if deadline is not None and not timeout.expired():
                timeout.reschedule(min(deadline, limit))

    def end(self) -> None:
        """Ends all running steps, and with them their requests."""
        self.ended = True
        now = asyncio.get_running_loop().time()
        for timeout in self._running:
            if not timeout.expired():
                timeout.reschedule(now)


class _Step:
    """The context of one step; a class, because a stream has one for each chunk.

    Raises:
        WorkerLost: The connection broke, the step timed out, or all steps were ended.
        DeadlineExceeded: The request's deadline has passed.
    """

    __slots__ = ("_deadline", "_patient", "_seconds", "_steps", "_timeout")

    def __init__(self, steps: Steps, deadline: float, seconds: float, patient: bool) -> None:  # noqa: FBT001
        self._steps = steps
        self._deadline = deadline
        self._seconds = seconds
        self._patient = patient

    async def __aenter__(self) -> None:
        limit = asyncio.get_running_loop().time() + self._seconds
        self._timeout = asyncio.timeout_at(min(self._deadline, limit))
        self._steps.begun(self._timeout, self._deadline if self._patient else None)
        await self._timeout.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._steps.over(self._timeout)
        try:
            await self._timeout.__aexit__(kind, error, traceback)
        except TimeoutError as late:
            error = late
        if isinstance(error, TimeoutError):
            if self._steps.ended:
                raise _unused() from error
            if asyncio.get_running_loop().time() >= self._deadline:
                raise too_late() from error
            raise lost("sent nothing for too long") from error
        if isinstance(error, OSError):
            raise lost("cannot be reached, or closed the connection") from error


def _unused() -> WorkerLost:
    return lost("is no longer used")
