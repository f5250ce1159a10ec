"""Detects replicas that have become slow.

Replicas differ, so a wait is compared with the usual wait of the same replica and kind of request.
Requests differ too, and some take long on any replica. So a slow wait must also be much longer than
the longest recent wait on the other replicas.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

SLOW_FACTOR = 4.0
"""A slow wait is at least this many times the usual wait."""

SLOW_SECONDS = 1.0
"""A slow wait is also at least this much longer than usual."""

PEER_FACTOR = 2.0
"""A slow wait is also at least this many times the longest recent wait on other replicas."""

MIN_WAITS = 5
"""Minimum known waits of a kind before any wait of that kind is called slow."""

AVERAGE_WEIGHT = 0.1
"""Weight of the last wait in the moving average that is the usual wait."""

LONGEST_DECAY = 0.99
"""Factor by which the longest wait shrinks with each further wait."""


@dataclass(slots=True, eq=False)
class Wait:
    """A request that waits for its answer, or for the answer's first chunk.

    Attributes:
        kind: It is compared with other waits of the same kind.
        began: When it began to wait.
        slow: How long it waited, in whole multiples of the limit; 0 when it was not slow.
    """

    kind: Hashable
    began: float
    slow: int = 0


@dataclass(slots=True)
class _Usual:
    seconds: float
    longest: float = 0.0
    waits: int = 0


class LatencyTracker:
    """The latencies of one replica."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Starts without waits; `clock` gives monotonic seconds."""
        self._clock = clock
        self._peers: tuple[LatencyTracker, ...] = ()
        self._usual: dict[Hashable, _Usual] = {}
        self._waiting: set[Wait] = set()
        self._slow_in_a_row = 0

    def compare_with(self, peers: Sequence[LatencyTracker]) -> None:
        """Sets the trackers of the other replicas."""
        self._peers = tuple(peers)

    def begin(self, kind: Hashable) -> Wait:
        """Starts a wait of this kind; `answered` or `left` ends it."""
        wait = Wait(kind, self._clock())
        self._waiting.add(wait)
        return wait

    def answered(self, wait: Wait) -> None:
        """Ends a wait because the answer, or its first chunk, arrived; idempotent."""
        if wait not in self._waiting:
            return
        self._waiting.remove(wait)
        wait.slow = self._times_too_long(wait)
        self._slow_in_a_row = self._slow_in_a_row + 1 if wait.slow else 0
        seconds = self._clock() - wait.began
        usual = self._usual.setdefault(wait.kind, _Usual(seconds))
        usual.waits += 1
        # A slow wait moves the average only a little; if slowness lasts, it becomes usual.
        limited = min(seconds, self._limit(wait.kind))
        usual.seconds += AVERAGE_WEIGHT * (limited - usual.seconds)
        usual.longest = max(seconds, LONGEST_DECAY * usual.longest)

    def left(self, wait: Wait) -> None:
        """Ends a wait because the request ended without an answer; idempotent."""
        if wait not in self._waiting:
            return
        self._waiting.remove(wait)
        wait.slow = self._times_too_long(wait)
        self._slow_in_a_row += wait.slow

    def slow_in_a_row(self) -> int:
        """Slow answers since the last good one, plus the slow waits that have not ended.

        A wait that has not ended counts once for each multiple of its limit. So a replica that
        answers nothing is found by the first requests that wait for it. The limit of each kind is
        computed once, and the other replicas are compared only where a wait is long.
        """
        now = self._clock()
        own_limits: dict[Hashable, float] = {}
        limits: dict[Hashable, float] = {}
        total = self._slow_in_a_row
        for wait in self._waiting:
            seconds = now - wait.began
            own = own_limits.get(wait.kind)
            if own is None:
                own = own_limits[wait.kind] = self._own_limit(wait.kind)
            if seconds < own:
                continue
            if wait.kind not in limits:
                limits[wait.kind] = self._limit(wait.kind)
            total += int(seconds / limits[wait.kind])
        return total

    def forgive(self) -> None:
        """Resets the count of slow answers; keeps the usual waits."""
        self._slow_in_a_row = 0

    def longest(self, kind: Hashable) -> float:
        """The longest recent wait of this kind, in seconds."""
        usual = self._usual.get(kind)
        return 0.0 if usual is None else usual.longest

    def _times_too_long(self, wait: Wait) -> int:
        return int((self._clock() - wait.began) / self._limit(wait.kind))

    def _limit(self, kind: Hashable) -> float:
        """Seconds from which on a wait is slow."""
        peers = (peer.longest(kind) for peer in self._peers)
        return max(self._own_limit(kind), PEER_FACTOR * max(peers, default=0.0))

    def _own_limit(self, kind: Hashable) -> float:
        """The limit from this replica's waits alone; infinite while too few are known."""
        usual = self._usual.get(kind)
        if usual is None or usual.waits < MIN_WAITS:
            return float("inf")
        return max(SLOW_FACTOR * usual.seconds, usual.seconds + SLOW_SECONDS)
