"""Decides from its progress whether a worker is ready, stalled or stuck."""

from __future__ import annotations

import time
from collections.abc import Callable

READY_STALL_SECONDS = 10.0
"""A worker without progress for this long is not ready, unless longer steps of it are known."""

STEP_FACTOR = 2.0
"""If longer steps are known, a worker is not ready after this many times the longest one."""

HALF_LIFE_SECONDS = 600.0
"""Half-life of the longest known step, which decays over time."""


class Progress:
    """Tracks the durations of a worker's steps.

    A large model on a CPU may need more than `READY_STALL_SECONDS` for a batch of long prompts. The
    first time, that looks like a stuck worker, so the worker is not ready until the step ends. Then
    the duration of such steps is known, and the worker stays ready during the next one.
    """

    def __init__(self, hang_timeout: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Takes the seconds without progress that mean a stuck worker, and a clock in seconds."""
        self._hang_timeout = hang_timeout
        self._clock = clock
        self._answered_at = clock()
        self._since_progress = 0.0
        self._longest_step = 0.0

    @property
    def stalled_seconds(self) -> float:
        """Seconds without known progress; a worker that does not answer counts as making none."""
        return self._clock() - self._answered_at + self._since_progress

    @property
    def is_progressing(self) -> bool:
        """Whether the time without progress may still be a single step's duration."""
        limit = max(READY_STALL_SECONDS, STEP_FACTOR * self._longest_step)
        return self.stalled_seconds < min(limit, self._hang_timeout)

    @property
    def is_stuck(self) -> bool:
        """Whether the worker must be replaced."""
        return self.stalled_seconds > self._hang_timeout

    def answered(self, seconds_since_progress: float) -> None:
        """Records a probe's answer: the seconds since its engine last finished a step."""
        # From the progress known before to the progress known now; 0 while a step is running.
        step = self.stalled_seconds - seconds_since_progress
        self._longest_step *= 0.5 ** ((self._clock() - self._answered_at) / HALF_LIFE_SECONDS)
        self._longest_step = max(self._longest_step, step)
        self._answered_at = self._clock()
        self._since_progress = seconds_since_progress

    def restarted(self) -> None:
        """Records that a new worker serves; keeps the known step durations."""
        self._answered_at = self._clock()
        self._since_progress = 0.0
