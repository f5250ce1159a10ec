"""Whether a replica has become slow.

Replicas differ, so a wait is compared with what is usual for this replica and this kind of request.
Requests differ too, and some take long wherever they are. So a wait must also be far longer than
the longest that the other replicas had of late.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

SLOW_FACTOR = 4.0
"""A wait this many times as long as usual may be slow."""

SLOW_SECONDS = 1.0
"""A wait is slow only when it is longer than usual by this, too."""

PEER_FACTOR = 2.0
"""It must also be this many times as long as the longest of the others."""

MIN_WAITS = 5
"""Waits of a kind that have to be known before any is called slow."""

NEWS = 0.1
"""How much of the usual wait the last one makes up."""

FADING = 0.99
"""What is left of the longest wait after one more."""


@dataclass(slots=True, eq=False)
class Wait:
    """A request that waits for its answer, or for the first piece of it.

    Attributes:
        kind: What it is compared with.
        began: When it began to wait.
        slow: How many times too long it had waited when its wait ended; 0 is well.
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
    """How long requests wait for one replica."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Knows nothing yet; `clock` gives seconds that never go back."""
        self._clock = clock
        self._peers: tuple[LatencyTracker, ...] = ()
        self._usual: dict[Hashable, _Usual] = {}
        self._waiting: set[Wait] = set()
        self._slow_in_a_row = 0

    def compare_with(self, peers: Sequence[LatencyTracker]) -> None:
        """Takes the paces of the other replicas."""
        self._peers = tuple(peers)

    def begin(self, kind: Hashable) -> Wait:
        """A request of this kind starts to wait; it ends with `answered` or `left`."""
        wait = Wait(kind, self._clock())
        self._waiting.add(wait)
        return wait

    def answered(self, wait: Wait) -> None:
        """What was waited for came; of no effect once the wait has ended."""
        if wait not in self._waiting:
            return
        self._waiting.remove(wait)
        wait.slow = self._times_too_long(wait)
        self._slow_in_a_row = self._slow_in_a_row + 1 if wait.slow else 0
        seconds = self._clock() - wait.began
        usual = self._usual.setdefault(wait.kind, _Usual(seconds))
        usual.waits += 1
        # What is slow moves the usual wait but little; if it lasts, it becomes what is usual.
        usual.seconds += NEWS * (min(seconds, self._limit(wait.kind)) - usual.seconds)
        usual.longest = max(seconds, FADING * usual.longest)

    def left(self, wait: Wait) -> None:
        """The request ended without an answer; of no effect once the wait has ended."""
        if wait not in self._waiting:
            return
        self._waiting.remove(wait)
        wait.slow = self._times_too_long(wait)
        self._slow_in_a_row += wait.slow

    def slow_in_a_row(self) -> int:
        """Slow answers since the last good one; one that is waited for still counts several times.

        So a replica that answers nothing is found by the first requests that wait for it. The limit
        of each kind is taken once, and the other replicas are asked only where a wait is long.
        """
        now = self._clock()
        limits: dict[Hashable, float] = {}
        whole: dict[Hashable, float] = {}
        total = self._slow_in_a_row
        for wait in self._waiting:
            seconds = now - wait.began
            own = limits.get(wait.kind)
            if own is None:
                own = limits[wait.kind] = self._own_limit(wait.kind)
            if seconds < own:
                continue
            if wait.kind not in whole:
                whole[wait.kind] = self._limit(wait.kind)
            total += int(seconds / whole[wait.kind])
        return total

    def forgive(self) -> None:
        """Forgets slow answers; what is usual stays."""
        self._slow_in_a_row = 0

    def longest(self, kind: Hashable) -> float:
        """The longest wait of this kind of late, in seconds."""
        usual = self._usual.get(kind)
        return 0.0 if usual is None else usual.longest

    def _times_too_long(self, wait: Wait) -> int:
        return int((self._clock() - wait.began) / self._limit(wait.kind))

    def _limit(self, kind: Hashable) -> float:
        """Seconds beyond which a wait is slow."""
        peers = (peer.longest(kind) for peer in self._peers)
        return max(self._own_limit(kind), PEER_FACTOR * max(peers, default=0.0))

    def _own_limit(self, kind: Hashable) -> float:
        """The same as far as this replica alone tells."""
        usual = self._usual.get(kind)
        if usual is None or usual.waits < MIN_WAITS:
            return float("inf")
        return max(SLOW_FACTOR * usual.seconds, usual.seconds + SLOW_SECONDS)
