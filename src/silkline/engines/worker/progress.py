"""How long a worker has made no progress, and from when on that says that it is stuck."""

from __future__ import annotations

import time
from collections.abc import Callable

READY_STALL_SECONDS = 10.0
"""A worker without progress for this long is not ready, while no longer step of it is known."""

STEP_FACTOR = 2.0
"""Where longer steps are known, a worker is not ready after this many times the longest."""

HALF_LIFE_SECONDS = 600.0
"""In this time the longest known step comes to count half."""


class Progress:
    """What is known of one worker's steps.

    A large model on a CPU may need more than `READY_STALL_SECONDS` for a batch of long prompts.
    That cannot be told from a stuck worker the first time, so then the worker is not ready for a
    while; the step's end tells how long such steps are, and the next one is waited for.
    """

    def __init__(self, hang_timeout: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Takes the seconds after which a worker is stuck for sure, and a clock in seconds."""
        self._hang_timeout = hang_timeout
        self._clock = clock
        self._answered_at = clock()
        self._since_progress = 0.0
        self._longest_step = 0.0

    @property
    def stalled_seconds(self) -> float:
        """Time without progress, as far as is known; a worker that does not answer makes none."""
        return self._clock() - self._answered_at + self._since_progress

    @property
    def goes_on(self) -> bool:
        """Whether the time without progress may still be that of a step."""
        patience = max(READY_STALL_SECONDS, STEP_FACTOR * self._longest_step)
        return self.stalled_seconds < min(patience, self._hang_timeout)

    @property
    def is_stuck(self) -> bool:
        """Whether the worker is to be replaced."""
        return self.stalled_seconds > self._hang_timeout

    def answered(self, seconds_since_progress: float) -> None:
        """The worker answered, and told when its engine last made a step."""
        # From the last progress known before to the last known now; nothing while a step goes on.
        step = self.stalled_seconds - seconds_since_progress
        self._longest_step *= 0.5 ** ((self._clock() - self._answered_at) / HALF_LIFE_SECONDS)
        self._longest_step = max(self._longest_step, step)
        self._answered_at = self._clock()
        self._since_progress = seconds_since_progress

    def restarted(self) -> None:
        """Another worker serves; what is known of the steps holds for it, too."""
        self._answered_at = self._clock()
        self._since_progress = 0.0
