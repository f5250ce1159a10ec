"""Which replicas are left out for a while, because what they do is worse than what others do.

After Envoy's outlier detection. A replica is ejected

- after `ERRORS_IN_A_ROW` calls in a row that were lost or made no sense. What is the request's own
  business, or an honest "overloaded", is no error of the replica: peers that counted 4xx, 429 or
  503 shed all their traffic for one bad client;
- when `SLOW_IN_A_ROW` of its requests in a row are slow for it (see `slowness`) while no other
  replica is.

It stays out for `FIRST_SECONDS` times the number of its ejections, then gets one request as a
trial: a good answer brings it back, a bad one ejects it again. At most half of the replicas are
ejected, so never the only one.
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
"""Share of the replicas that may be ejected at a time."""

FIRST_SECONDS = 5.0
MAX_SECONDS = 300.0
"""How long a replica is left out: the first time, and at most."""

FORGET_SECONDS = 300.0
"""After this long without an ejection, the next one is the first again."""


class Standing:
    """What is held against one replica."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Starts with nothing; `clock` gives seconds that never go back."""
        self._clock = clock
        self.pace = LatencyTracker(clock)
        """How long its requests wait."""
        self.errors = 0
        """What was held against it so far, see `Ejection.failed`."""
        self.errors_in_a_row = 0
        """The same since the last call that went well."""
        self.on_trial = False
        """Whether the one request that decides is under way; set by who sends it."""
        self._ejections = 0
        self._until: float | None = None
        self._returned_at = float("-inf")

    @property
    def ejected(self) -> bool:
        """Whether it is left out; until a trial goes well."""
        return self._until is not None

    @property
    def due(self) -> bool:
        """Whether it is ejected, but should be tried now."""
        return self._until is not None and self._clock() >= self._until and not self.on_trial

    def eject(self) -> None:
        """Leaves it out, the longer, the oftener it was."""
        now = self._clock()
        if self._until is None and now - self._returned_at > FORGET_SECONDS:
            self._ejections = 0
        self._ejections += 1
        self._until = now + min(MAX_SECONDS, FIRST_SECONDS * self._ejections)

    def restore(self) -> None:
        """Takes it back."""
        self._until = None
        self._returned_at = self._clock()
        self.errors_in_a_row = 0
        self.pace.forgive()


class Ejection:
    """Judges the replicas of one pool."""

    def __init__(self, standings: Sequence[Standing]) -> None:
        """Takes the standings of all replicas of the pool."""
        self._standings = tuple(standings)
        for standing in standings:
            others = [other.pace for other in standings if other is not standing]
            standing.pace.compare_with(others)

    @contextmanager
    def judging(
        self, standing: Standing, kind: Hashable, *, trial: bool, lost_alone: bool
    ) -> Generator[Callable[[], None], None, None]:
        """Judges a replica by how the block, which is one call to it, ends.

        Args:
            standing: The replica's.
            kind: Requests of one kind wait about equally long.
            trial: Whether this call decides if the replica comes back.
            lost_alone: Whether a lost call is an error by itself; if not, `failed` is told of all
                that were lost together.

        Yields:
            What to call when the first piece of the answer is there.
        """
        wait = standing.pace.begin(kind)
        well: bool | None = None
        try:
            yield lambda: standing.pace.answered(wait)
            well = True
        except (WorkerLost, EngineFailed, InternalFault) as error:
            well = False
            if lost_alone or not isinstance(error, WorkerLost):
                self.failed(standing)
            raise
        except InputError:  # it says what is wrong with the request, as it should
            well = True
            raise
        finally:
            standing.pace.left(wait)
            if well:
                standing.errors_in_a_row = 0
            if trial and (wait.slow or well is False):
                standing.eject()
            elif trial and well:
                standing.restore()

    def failed(self, standing: Standing) -> None:
        """A call was lost or made no sense, or the replica fell with all its calls."""
        standing.errors += 1
        standing.errors_in_a_row += 1
        if standing.errors_in_a_row >= ERRORS_IN_A_ROW:
            self._eject(standing)

    def look_for_slow_ones(self) -> None:
        """Ejects the one replica that has become slow; takes a look at each request in flight.

        Where a second one is slow as well, it is the load, and no further one is looked at.
        """
        slow = (
            standing
            for standing in self._standings
            if not standing.ejected and standing.pace.slow_in_a_row() >= SLOW_IN_A_ROW
        )
        first, second = next(slow, None), next(slow, None)
        if first is not None and second is None:
            self._eject(first)

    def _eject(self, standing: Standing) -> None:
        if standing.ejected:
            return
        ejected = sum(each.ejected for each in self._standings)
        if ejected + 1 <= MAX_EJECTED_SHARE * len(self._standings):
            standing.eject()
