"""Who is held responsible when workers die."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from silkline.core import Request, Sampling
from silkline.errors import Quarantined
from silkline.routing import quarantine
from silkline.routing.quarantine import Quarantine, content_digest
from tests.engines.asking import picture, question, request, user
from tests.routing.clock import Clock

POISON = question("poison")
OTHERS = [question(f"innocent {n}") for n in range(5)]


def refused(record: Quarantine, asked: Request) -> bool:
    try:
        record.check(asked)
    except Quarantined:
        return True
    return False


def test_one_death_convicts_nobody() -> None:
    record = Quarantine()
    record.death([POISON, *OTHERS])
    assert not any(refused(record, each) for each in (POISON, *OTHERS))
    assert [record.strikes(each) for each in (POISON, *OTHERS)] == [1] * 6


def test_the_only_suspect_at_a_second_death_is_convicted() -> None:
    record = Quarantine()
    record.death([POISON, *OTHERS[:3]])
    record.death([POISON, *OTHERS[3:]])
    assert refused(record, POISON)
    assert not any(refused(record, each) for each in OTHERS)
    assert [record.strikes(each) for each in OTHERS] == [1, 1, 1, 0, 0]


def test_a_strike_lasts_ten_minutes_of_the_given_clock() -> None:
    clock = Clock()
    record = Quarantine(clock=clock)
    record.death([POISON])
    clock.now += quarantine.RECORD_SECONDS - 1
    assert record.strikes(POISON) == 1
    clock.now += 2
    assert record.strikes(POISON) == 0


def test_several_suspects_at_a_second_death_are_not_convicted() -> None:
    record = Quarantine()
    record.death([POISON, *OTHERS])
    record.death([POISON, OTHERS[0]])
    assert not any(refused(record, each) for each in (POISON, *OTHERS))
    assert record.strikes(POISON) == record.strikes(OTHERS[0]) == 2
    record.death([POISON])
    assert refused(record, POISON)


def test_a_request_alone_at_two_deaths_is_convicted() -> None:
    record = Quarantine()
    record.death([POISON])
    record.death([POISON])
    with pytest.raises(Quarantined) as caught:
        record.check(POISON)
    assert "poison" not in caught.value.message


def test_copies_of_a_request_are_one_suspect() -> None:
    record = Quarantine()
    copies = [dataclasses.replace(POISON, id=str(n)) for n in range(4)]
    record.death([*copies, *OTHERS])
    record.death(copies)
    assert all(refused(record, copy) for copy in copies)


def test_an_answer_clears_a_suspect() -> None:
    record = Quarantine()
    record.death(OTHERS)
    record.clear(OTHERS[0])
    assert record.strikes(OTHERS[0]) == 0
    record.death([OTHERS[0]])
    assert not refused(record, OTHERS[0])


def test_records_expire(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "RECORD_SECONDS", -1.0)
    record = Quarantine()
    record.death([POISON])
    assert record.strikes(POISON) == 0
    record.death([POISON])
    assert not refused(record, POISON)


def test_the_oldest_records_give_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "MAX_RECORDS", 3)
    record = Quarantine()
    for each in OTHERS:
        record.death([each])
    assert [record.strikes(each) for each in OTHERS] == [0, 0, 1, 1, 1]


def test_the_digest_is_that_of_what_is_asked() -> None:
    same = dataclasses.replace(
        POISON, id="other", timeout_seconds=1.0, stream=False, sampling=Sampling(seed=3)
    )
    assert content_digest(same) == content_digest(POISON)
    different = [
        question("poison", seed=1),
        question("poison", seed=None),
        question("Poison"),
        request(user("poison", 0), images=(picture(),)),
        request(user(0), user("poison"), images=(picture(),)),
        question("half \ud83d of it"),
    ]
    assert len({content_digest(each) for each in (POISON, *different)}) == len(different) + 1


@given(st.lists(st.sets(st.integers(0, 4), min_size=1), max_size=8))
def test_who_was_at_one_death_only_is_never_convicted(deaths: list[set[int]]) -> None:
    record = Quarantine()
    for in_flight in deaths:
        record.death(OTHERS[place] for place in in_flight)
    for place, other in enumerate(OTHERS):
        if sum(place in in_flight for in_flight in deaths) < 2:
            assert not refused(record, other)
