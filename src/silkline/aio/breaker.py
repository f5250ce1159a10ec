"""A circuit breaker: stops using a backend after repeated failures."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from silkline.observe.logs import FIELDS

FAILURES_TO_OPEN = 3
"""Failures in a row that open the breaker; a single one may be chance."""

RETRY_SECONDS = 1.0
"""Seconds that an open breaker waits before the next attempt."""

logger = logging.getLogger("silkline.cache")


class Breaker:
    """A circuit breaker.

    It starts closed. `FAILURES_TO_OPEN` failures in a row open it. While it is open, it allows one
    attempt at a time, `RETRY_SECONDS` after the last failure; the first success closes it.
    """

    def __init__(self, name: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Creates a closed breaker; `name` is its name in the logs."""
        self._name = name
        self._clock = clock
        self._failures = 0
        self._retry_at = 0.0
        self._errors = 0

    @property
    def errors(self) -> int:
        """Failures so far."""
        return self._errors

    @property
    def degraded(self) -> bool:
        """Whether the last use failed."""
        return self._failures > 0

    @property
    def open(self) -> bool:
        """Whether ordinary uses should be skipped."""
        return self._failures >= FAILURES_TO_OPEN

    @property
    def seconds_to_retry(self) -> float:
        """Seconds until the next attempt; 0.0 if it is due, or if the breaker is closed."""
        return max(0.0, self._retry_at - self._clock()) if self.open else 0.0

    def attempt(self) -> bool:
        """Whether to use the backend now; while open, allows one caller per attempt."""
        if not self.open:
            return True
        if self.seconds_to_retry > 0:
            return False
        self._retry_at = self._clock() + RETRY_SECONDS
        return True

    def succeeded(self) -> None:
        """Records a success, which closes the breaker."""
        if self.open:
            logger.info("cache tier recovered", extra={FIELDS: {"silkline.tier": self._name}})
        self._failures = 0

    def failed(self, error: BaseException) -> None:
        """Records a failure; logs the error's class once per outage."""
        self._errors += 1
        self._failures += 1
        self._retry_at = self._clock() + RETRY_SECONDS
        if self._failures == FAILURES_TO_OPEN:
            logger.warning(
                "cache tier failed; answers are computed without it",
                extra={
                    FIELDS: {
                        "silkline.tier": self._name,
                        "error.type": type(error).__name__,
                    }
                },
            )
