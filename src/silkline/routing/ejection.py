"""Ejection: stops sending requests to replicas that fail, or are slower than the others.

After Envoy's outlier detection. A replica is ejected

- after `ERRORS_IN_A_ROW` consecutive calls that were lost or gave an invalid answer. Errors of the
  request itself, and an `Overloaded`, do not count against the replica: load balancers that counted
  4xx, 429 or 503 took all replicas out of use because of one bad client;
- when `SLOW_IN_A_ROW` of its requests in a row are slow for it (see `slowness`) while no other
  replica is slow.

It stays ejected for `FIRST_SECONDS` times the number of its ejections, then gets one request as a
trial: a good answer restores it, a bad one ejects it again. At most half of the replicas are
ejected at a time, so never the only one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Hashable, Sequence
from contextlib import contextmanager

from silkline.errors import EngineFailed, InputError, InternalFault, WorkerLost
from silkline.routing.slowness import LatencyTracker

ERRORS_IN_A_ROW = 5
SLOW_IN_A_ROW = 3
MAX_EJECTED_SHARE = 0.5
"""Maximum share of the replicas that may be ejected at a time."""

FIRST_SECONDS = 5.0
MAX_SECONDS = 300.0
"""How long a replica stays ejected: the first time, and at most."""

FORGET_SECONDS = 300.0
"""After this long without an ejection, the next one counts as the first again."""


class ReplicaRecord:
    """One replica's errors, latencies and ejections."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Starts empty; `clock` gives monotonic seconds."""
        self._clock = clock
        self.pace = LatencyTracker(clock)
        """Latencies of its requests."""
        self.errors = 0
        """Errors so far, see `Ejection.failed`."""
        self.errors_in_a_row = 0
        """Errors since the last successful call."""
        self.on_trial = False
        """Whether its trial request is in flight; set by `Dispatch`."""
        self._ejections = 0
        self._until: float | None = None
        self._returned_at = float("-inf")

    @property
    def ejected(self) -> bool:
        """Whether it is ejected; this ends with a successful trial."""
        return self._until is not None

    @property
    def due(self) -> bool:
        """Whether it is ejected and should get a trial request now."""
        return self._until is not None and self._clock() >= self._until and not self.on_trial

    def eject(self) -> None:
        """Ejects it; each ejection lasts longer than the last."""
        now = self._clock()
        if self._until is None and now - self._returned_at > FORGET_SECONDS:
            self._ejections = 0
        self._ejections += 1
        self._until = now + min(MAX_SECONDS, FIRST_SECONDS * self._ejections)

    def restore(self) -> None:
        """Ends its ejection."""
        self._until = None
        self._returned_at = self._clock()
        self.errors_in_a_row = 0
        self.pace.forgive()


class Ejection:
    """Decides which replicas of one pool are ejected."""

    def __init__(self, records: Sequence[ReplicaRecord]) -> None:
        """Takes the records of all replicas of the pool."""
        self._records = tuple(records)
        for record in records:
            others = [other.pace for other in records if other is not record]
            record.pace.compare_with(others)

    @contextmanager
    def judging(
        self, record: ReplicaRecord, kind: Hashable, *, trial: bool, count_lost: bool
    ) -> Generator[Callable[[], None], None, None]:
        """Records success or failure of one call to a replica, which the block makes.

        Args:
            record: The replica's record.
            kind: Latencies are compared only between requests of the same kind.
            trial: Whether this call decides if the replica is restored.
            count_lost: Whether a `WorkerLost` of this call counts as an error. If not, the caller
                calls `failed` once for all calls that were lost together.

        Yields:
            A function to call when the first chunk of the answer arrives.
        """
        wait = record.pace.begin(kind)
        succeeded: bool | None = None
        try:
            yield lambda: record.pace.answered(wait)
            succeeded = True
        except (WorkerLost, EngineFailed, InternalFault) as error:
            succeeded = False
            if count_lost or not isinstance(error, WorkerLost):
                self.failed(record)
            raise
        except InputError:  # the request is invalid; the replica did its work
            succeeded = True
            raise
        finally:
            record.pace.left(wait)
            if succeeded:
                record.errors_in_a_row = 0
            if trial and (wait.slow or succeeded is False):
                record.eject()
            elif trial and succeeded:
                record.restore()

    def failed(self, record: ReplicaRecord) -> None:
        """Counts an error: a lost call, an invalid answer, or the end of a worker."""
        record.errors += 1
        record.errors_in_a_row += 1
        if record.errors_in_a_row >= ERRORS_IN_A_ROW:
            self._eject(record)

    def eject_slow(self) -> None:
        """Ejects a replica that has become slow while no other is slow.

        Checks each request in flight. When a second replica is slow too, the cause is the load:
        none is ejected, and the rest are not checked.
        """
        slow = (
            record
            for record in self._records
            if not record.ejected and record.pace.slow_in_a_row() >= SLOW_IN_A_ROW
        )
        first, second = next(slow, None), next(slow, None)
        if first is not None and second is None:
            self._eject(first)

    def _eject(self, record: ReplicaRecord) -> None:
        if record.ejected:
            return
        ejected = sum(other.ejected for other in self._records)
        if ejected + 1 <= MAX_EJECTED_SHARE * len(self._records):
            record.eject()
