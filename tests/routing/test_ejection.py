"""Who is left out, for how long, and who never is."""

import asyncio
from collections.abc import Hashable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from silkline.errors import (
    DeadlineExceeded,
    EngineFailed,
    InternalFault,
    InvalidRequest,
    Overloaded,
    RateLimited,
    SilklineError,
    WorkerLost,
)
from silkline.routing.ejection import (
    ERRORS_IN_A_ROW,
    FIRST_SECONDS,
    MAX_EJECTED_SHARE,
    MAX_SECONDS,
    SLOW_IN_A_ROW,
    Ejection,
    ReplicaRecord,
)
from silkline.routing.slowness import LatencyTracker
from tests.routing.clock import Clock


class Judged:
    """Some replicas and their calls."""

    def __init__(self, replicas: int) -> None:
        self.clock = Clock()
        self.records = [ReplicaRecord(self.clock) for _ in range(replicas)]
        self.ejection = Ejection(self.records)

    def call(
        self,
        replica: int = 0,
        error: SilklineError | None = None,
        *,
        seconds: float = 0.1,
        trial: bool = False,
        count_lost: bool = True,
    ) -> None:
        judging = self.ejection.judging(
            self.records[replica], "any", trial=trial, count_lost=count_lost
        )
        with suppress(SilklineError), judging as answered:
            self.clock.now += seconds
            if error is not None:
                raise error
            answered()

    @property
    def ejected(self) -> list[bool]:
        return [record.ejected for record in self.records]


@pytest.mark.parametrize(
    "error", [WorkerLost("gone"), EngineFailed("no luck"), InternalFault("nonsense")]
)
def test_errors_in_a_row_eject(error: SilklineError) -> None:
    judged = Judged(2)
    for _ in range(ERRORS_IN_A_ROW - 1):
        judged.call(error=error)
    judged.call()
    for _ in range(ERRORS_IN_A_ROW - 1):
        judged.call(error=error)
    assert judged.ejected == [False, False]
    judged.call(error=error)
    assert judged.ejected == [True, False]
    assert judged.records[0].errors == 2 * ERRORS_IN_A_ROW - 1


@pytest.mark.parametrize(
    "error",
    [InvalidRequest("no"), RateLimited("no"), Overloaded("no"), DeadlineExceeded("no")],
)
def test_what_is_the_requests_own_business_ejects_nobody(error: SilklineError) -> None:
    judged = Judged(2)
    for _ in range(100):
        judged.call(error=error)
    assert judged.ejected == [False, False]
    assert judged.records[0].errors == 0


def test_calls_that_are_lost_together_are_one_error() -> None:
    judged = Judged(2)
    for _ in range(100):
        judged.call(error=WorkerLost("gone"), count_lost=False)
    assert judged.ejected == [False, False]
    for _ in range(ERRORS_IN_A_ROW):
        judged.ejection.failed(judged.records[0])
    assert judged.ejected == [True, False]


EVENT = st.tuples(st.integers(0, 5), st.sampled_from(["good", "lost", "slow"]), st.floats(0, 20))


@given(st.integers(1, 6), st.lists(EVENT, max_size=150))
def test_at_most_half_are_ejected(replicas: int, events: list[tuple[int, str, float]]) -> None:
    judged = Judged(replicas)
    for number, what, pause in events:
        replica = number % replicas
        record = judged.records[replica]
        trial = record.due
        record.on_trial = trial
        error = WorkerLost("gone") if what == "lost" else None
        judged.call(replica, error, seconds=9.0 if what == "slow" else 0.1, trial=trial)
        record.on_trial = False
        judged.ejection.eject_slow()
        judged.clock.now += pause
        assert sum(judged.ejected) <= MAX_EJECTED_SHARE * replicas


@pytest.mark.parametrize("replicas", range(1, 8))
def test_where_all_fail_half_are_kept(replicas: int) -> None:
    judged = Judged(replicas)
    for _ in range(2 * ERRORS_IN_A_ROW):
        for replica in range(replicas):
            judged.call(replica, WorkerLost("gone"))
    assert sum(judged.ejected) == replicas // 2


def due(record: ReplicaRecord) -> bool:
    return record.due


def test_a_trial_decides_and_each_ejection_is_longer() -> None:
    judged = Judged(2)
    record = judged.records[0]
    for _ in range(ERRORS_IN_A_ROW):
        judged.call(error=WorkerLost("gone"))
    for times in range(1, 80):
        assert not due(record)
        judged.clock.now += min(MAX_SECONDS, FIRST_SECONDS * times) - 0.1
        assert not due(record)
        judged.clock.now += 0.1
        assert due(record)
        judged.call(error=WorkerLost("gone"), seconds=0.0, trial=True)
    judged.clock.now += MAX_SECONDS
    judged.call(error=Overloaded("full"), trial=True)
    judged.call(error=InvalidRequest("no"), trial=True)
    assert judged.ejected == [False, False]


def test_only_one_request_is_on_trial() -> None:
    judged = Judged(1)
    record = judged.records[0]
    assert not due(record)
    record.eject()
    judged.clock.now += FIRST_SECONDS
    assert due(record)
    record.on_trial = True
    assert not due(record)


def test_the_one_that_has_become_slow_is_ejected_and_must_be_quick_to_return() -> None:
    judged = Judged(3)
    for _ in range(20):
        for replica in range(3):
            judged.call(replica)
    for _ in range(SLOW_IN_A_ROW):
        judged.ejection.eject_slow()
        assert judged.ejected == [False] * 3
        judged.call(1, seconds=5)
    judged.ejection.eject_slow()
    assert judged.ejected == [False, True, False]
    judged.clock.now += FIRST_SECONDS
    judged.call(1, seconds=5, trial=True)
    assert judged.ejected == [False, True, False]
    judged.clock.now += 2 * FIRST_SECONDS
    judged.call(1, trial=True)
    judged.ejection.eject_slow()
    assert judged.ejected == [False] * 3


def test_when_all_are_slow_it_is_the_load() -> None:
    judged = Judged(3)
    for seconds in [0.1] * 20 + [5] * 4:
        for replica in range(3):
            judged.call(replica, seconds=seconds)
    judged.ejection.eject_slow()
    assert judged.ejected == [False] * 3


def test_a_look_at_many_replicas_asks_peers_only_where_a_wait_is_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With 32 replicas, a look that asks every peer about every wait takes over 10 ms."""
    judged = Judged(32)
    for _ in range(20):
        for replica in range(32):
            judged.call(replica)
    for record in judged.records:
        for _ in range(16):
            record.pace.begin("any")
    asked: list[object] = []
    longest = LatencyTracker.longest

    def counted(pace: LatencyTracker, kind: Hashable) -> float:
        asked.append(kind)
        return longest(pace, kind)

    monkeypatch.setattr(LatencyTracker, "longest", counted)
    judged.ejection.eject_slow()
    assert not asked
    judged.clock.now += 60  # all are slow: two are enough to tell that it is the load
    judged.ejection.eject_slow()
    assert len(asked) <= 2 * 31
    assert not any(judged.ejected)


def test_when_none_answers_any_more_none_is_ejected() -> None:
    judged = Judged(3)
    for _ in range(20):
        for replica in range(3):
            judged.call(replica)
    for record in judged.records:
        record.pace.begin("any")
    judged.clock.now += 60
    judged.ejection.eject_slow()
    assert judged.ejected == [False] * 3


def test_a_client_that_leaves_says_nothing() -> None:
    judged = Judged(2)
    judged.records[0].eject()
    with (
        pytest.raises(asyncio.CancelledError),
        judged.ejection.judging(judged.records[0], "any", trial=True, count_lost=True),
    ):
        raise asyncio.CancelledError
    assert judged.ejected == [True, False]
    judged.clock.now += FIRST_SECONDS
    assert judged.records[0].due
