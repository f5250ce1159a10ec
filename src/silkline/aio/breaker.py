"""When not to ask: a circuit breaker for what stands behind a tier."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from silkline.observe.logs import FIELDS

FAILURES_TO_OPEN = 3
"""So many failures in a row open the breaker; a single one may be chance."""

RETRY_SECONDS = 1.0
"""How long an open breaker waits before the next attempt."""

logger = logging.getLogger("silkline.cache")


class Breaker:
    """Remembers whether the last uses of something failed.

    It is closed at first. Failures in a row open it; then one attempt at a time is due, each
    `RETRY_SECONDS` after the last failure; the first success closes it.
    """

    def __init__(self, name: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Makes a closed one; logs call it by its name."""
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
        """Whether ordinary uses should be left out."""
        return self._failures >= FAILURES_TO_OPEN

    @property
    def seconds_to_retry(self) -> float:
        """Seconds until the next attempt is due; 0.0 when it is, or when the breaker is closed."""
        return max(0.0, self._retry_at - self._clock()) if self.open else 0.0

    def attempt(self) -> bool:
        """Whether to use it now; while open, says so to one caller for each time it is due."""
        if not self.open:
            return True
        if self.seconds_to_retry > 0:
            return False
        self._retry_at = self._clock() + RETRY_SECONDS
        return True

    def succeeded(self) -> None:
        """Notes a success."""
        if self.open:
            logger.info("cache tier is back", extra={FIELDS: {"silkline.cache.tier": self._name}})
        self._failures = 0

    def failed(self, error: BaseException) -> None:
        """Notes a failure; the log gets the error's class, and that only once an outage."""
        self._errors += 1
        self._failures += 1
        self._retry_at = self._clock() + RETRY_SECONDS
        if self._failures == FAILURES_TO_OPEN:
            logger.warning(
                "cache tier does not work, answers are computed without it",
                extra={
                    FIELDS: {
                        "silkline.cache.tier": self._name,
                        "error.type": type(error).__name__,
                    }
                },
            )
