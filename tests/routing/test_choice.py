"""The rules of choice, held against what they promise."""

import math
import random
from collections import Counter
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from silkline.routing.choice import LOAD_FACTOR, Reason, by_affinity, by_load, choose


@dataclass(eq=False)
class Place:
    name: str
    weight: float = 1.0
    in_flight: int = 0
    limit: int = 10**9

    @property
    def full(self) -> bool:
        return self.in_flight >= self.limit


def places(weights: list[float], limit: int = 10**9) -> list[Place]:
    return [Place(f"replica-{n}", weight, limit=limit) for n, weight in enumerate(weights)]


def preferred(members: list[Place], key: str) -> Place | None:
    found = by_affinity(members, key)
    return None if found is None else found[0]


WEIGHTS = st.lists(st.floats(0.1, 10), min_size=1, max_size=6)


@given(WEIGHTS, st.lists(st.tuples(st.text(max_size=4), st.booleans()), max_size=60), st.randoms())
def test_the_load_stays_bounded_whatever_comes_and_goes(
    weights: list[float], asked: list[tuple[str, bool]], dice: random.Random
) -> None:
    members = places(weights)
    running: list[Place] = []
    for key, one_leaves in asked:
        if one_leaves and running:
            running.pop(dice.randrange(len(running))).in_flight -= 1
        chosen = preferred(members, key)
        assert chosen is not None
        chosen.in_flight += 1
        running.append(chosen)
        share = chosen.weight / sum(weights)
        assert chosen.in_flight <= math.ceil(LOAD_FACTOR * len(running) * share)


@given(WEIGHTS, st.integers(1, 4), st.lists(st.none() | st.text(max_size=4), max_size=40))
def test_no_limit_is_passed_and_no_seat_is_left_empty(
    weights: list[float], limit: int, keys: list[str | None]
) -> None:
    members = places(weights, limit)
    dice = random.Random(1)
    for n, key in enumerate(keys):
        found = choose(members, key, dice)
        if n >= limit * len(members):
            assert found is None
            continue
        assert found is not None
        chosen, _ = found
        assert not chosen.full
        chosen.in_flight += 1


def shares(members: list[Place], keys: int = 20_000) -> list[float]:
    homes = Counter(preferred(members, f"picture {n}") for n in range(keys))
    return [homes[member] / keys for member in members]


def test_pictures_are_shared_out_by_weight() -> None:
    for share, expected in zip(shares(places([1, 2, 5])), [1 / 8, 2 / 8, 5 / 8], strict=True):
        assert abs(share - expected) < 0.015


@given(WEIGHTS, st.text(max_size=8))
def test_a_picture_has_one_home_and_leaves_it_only_when_that_goes(
    weights: list[float], key: str
) -> None:
    members = places(weights)
    home = preferred(members, key)
    assert preferred(members[::-1], key) is home
    for gone in members:
        others = [member for member in members if member is not gone]
        if others and gone is not home:
            assert preferred(others, key) is home
    new = Place("new")
    assert preferred([*members, new], key) in (home, new)


def test_a_picture_in_great_demand_overflows_to_the_same_replicas() -> None:
    members = places([1.0] * 4)
    home = preferred(members, "hot")
    assert home is not None
    home.in_flight = 1
    second = preferred(members, "hot")
    assert second is not home
    assert second is not None
    rest = [member for member in members if member is not home]
    for member in members:
        member.in_flight = 0
    assert preferred(rest, "hot") is second


def test_it_is_known_why_a_replica_was_chosen() -> None:
    members, dice = places([1.0] * 4, limit=3), random.Random(1)
    assert choose(members[:1], "hot", dice) == (members[0], Reason.ONLY)
    found = choose(members, "hot", dice)
    assert found is not None
    home, reason = found
    assert reason is Reason.AFFINITY
    home.in_flight = 1
    assert (choose(members, "hot", dice) or (home, None))[1] is Reason.OVERFLOW
    assert (choose(members, None, dice) or (home, None))[1] is Reason.LOAD
    for member in members[1:]:
        member.in_flight = 3
    assert choose(members, None, dice) == (members[0], Reason.ONLY)


@given(WEIGHTS, st.integers(0, 2**32))
def test_of_two_the_less_loaded_is_taken(weights: list[float], seed: int) -> None:
    members = places(weights)
    dice = random.Random(seed)
    for member in members:
        member.in_flight = dice.randrange(10)
    worst = max(member.in_flight / member.weight for member in members)
    chosen = by_load(members, dice)
    others = [member for member in members if member is not chosen]
    assert not others or any(
        chosen.in_flight / chosen.weight <= other.in_flight / other.weight for other in others
    )
    assert chosen.in_flight / chosen.weight <= worst


def test_idle_replicas_are_taken_by_weight() -> None:
    members = places([1, 3])
    dice = random.Random(2)
    taken = Counter(by_load(members, dice).weight for _ in range(20_000))
    assert abs(taken[3] / 20_000 - 3 / 4) < 0.015


def test_what_runs_is_shared_by_weight() -> None:
    members = places([1, 2, 5])
    dice = random.Random(3)
    for _ in range(800):
        by_load(members, dice).in_flight += 1
    for member in members:
        assert abs(member.in_flight / 800 - member.weight / 8) < 0.05


def test_the_same_seed_chooses_the_same() -> None:
    one, other = ([by_load(places([1, 2, 3]), dice).name for _ in range(50)]
                  for dice in (random.Random(4), random.Random(4)))  # fmt: skip
    assert one == other
