"""The slots in the engines: how many exist, how many are taken, and how fast they become free."""

from __future__ import annotations

from collections.abc import Callable

from silkline.admission.concurrency import Concurrency
from silkline.admission.cost import Ratio
from silkline.admission.throughput import Throughput

OUTAGE_SECONDS = 10.0
"""How long requests wait while no engine is available."""

_LOOK_SECONDS = 2.0
"""While requests wait, the capacity is checked much more often than this."""

_MEMORY = 0.1


class EngineSlots:
    """Counts slots, and predicts when one will be free."""

    def __init__(
        self, capacity: Callable[[], int], clock: Callable[[], float], *, slo: float
    ) -> None:
        """Starts with no slot taken.

        Args:
            capacity: Maximum requests that the engines can hold now.
            clock: Monotonic seconds.
            slo: Seconds in which answers should be complete; 0 for none.
        """
        self._capacity = capacity
        self._clock = clock
        self._throughput = Throughput()
        self._concurrency = Concurrency(slo, clock)
        self._usual_work = Ratio(memory=_MEMORY)
        self._changed = 0.0
        self._last = 0.0
        self._integral = 0.0
        self._out_since: float | None = None
        self._looked = 0.0
        self.taken = 0

    def count(self) -> int:
        """How many slots may be taken now; also records when an outage began."""
        capacity = self._capacity()
        if capacity > 0:
            self._out_since = None
        elif self._out_since is None or self._clock() - self._looked > _LOOK_SECONDS:
            self._out_since = self._clock()  # not checked for long: this may be a new outage
        self._looked = self._clock()
        return self._concurrency.limit(capacity)

    @property
    def free(self) -> bool:
        """Whether a slot may be taken."""
        return self.taken < self.count()

    @property
    def out(self) -> bool:
        """Whether the engines have had no capacity for `OUTAGE_SECONDS`."""
        return self._out_since is not None and self._clock() - self._out_since >= OUTAGE_SECONDS

    def take(self) -> float:
        """Takes a slot; returns the `begun` value for `answered`."""
        self._change(1)
        return self._integral

    def leave(self) -> None:
        """Frees a slot."""
        self._change(-1)

    def answered(self, begun: float, work: float, seconds: float) -> None:
        """Learns from an answer, whose slot is still taken.

        Args:
            begun: The value that `take` returned.
            work: The actual work.
            seconds: How long its slot was taken.
        """
        capacity = self._capacity()
        slots = self._concurrency.limit(capacity)
        self._throughput.note(work, seconds, self.taken / max(1, slots))
        self._usual_work.note(work, 1)
        usual = self._usual_work.value
        if seconds > 0 and capacity > 0 and usual is not None:
            self._change(0)
            share = min(1.0, (self._integral - begun) / seconds / capacity)
            self._concurrency.note(share, seconds / work, usual)

    def rate(self) -> float | None:
        """Work that the engines do per second; None while that is not known."""
        return self._rate_of(self.count())

    def work_seconds(self, work: float) -> float | None:
        """Seconds that all engines need for this much work; None while that is not known."""
        if work <= 0:
            return 0.0
        rate = self.rate()
        return None if rate is None else work / rate

    @property
    def batch_work(self) -> float:
        """Work of a full batch of usual requests; 0 while that is not known."""
        return self.count() * (self._usual_work.value or 0.0)

    @property
    def interval(self) -> float:
        """Mean seconds between two answers while all slots are taken; 0 while not known."""
        rate, usual = self.rate(), self._usual_work.value
        return usual / rate if rate and usual is not None else 0.0

    def seconds(self, ahead: float) -> float | None:
        """Seconds until a slot is free for a request with this much work ahead of it.

        None while that is not known.
        """
        slots, usual = self.count(), self._usual_work.value
        if slots <= 0:
            return None
        free = slots - self.taken
        if usual is None:
            return 0.0 if free > 0 else None
        if ahead + (1 - free) * usual <= 0:
            return 0.0
        rate = self._rate_of(slots)
        if rate is None:
            return None
        # Slots become free one by one, so the time since the last change counts already.
        next_slot = max(0.0, usual / rate - (self._clock() - self._last))
        return max(0.0, ahead - free * usual) / rate + next_slot

    def service(self, work: float) -> float:
        """Seconds that this much work takes a slot; 0 while that is not known."""
        speed = self._throughput.speed
        return 0.0 if speed is None else work / speed

    def _rate_of(self, slots: int) -> float | None:
        speed = self._throughput.speed
        return slots * speed if slots > 0 and speed is not None else None

    def _change(self, more: int) -> None:
        """Changes how many slots are taken, and updates the integral of that over time."""
        now = self._clock()
        self._integral += self.taken * (now - self._changed)
        self._changed = now
        self.taken += more
        if more:
            self._last = now
