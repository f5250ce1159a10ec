"""Near duplicates: the nearest digest is found, exactly, of the same context, and checked."""

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from silkline.cache import near as near_module
from silkline.cache.near import DIGEST_BITS, MAX_DISTANCE, NearDuplicates, NearSnapshot
from tests.cache.asking import HOUR

CONTEXT = b"context"
OTHER = b"other"

distances = st.integers(0, MAX_DISTANCE)
# Digests of few bits are near one another often; those of all bits hit every band's edges.
digests = st.one_of(
    st.integers(0, 2**DIGEST_BITS - 1),
    st.sets(st.integers(0, DIGEST_BITS - 1), max_size=4).map(
        lambda bits: sum(1 << bit for bit in bits)
    ),
)
places = st.permutations(range(DIGEST_BITS))
uses = st.lists(st.tuples(st.sampled_from([CONTEXT, OTHER]), digests), max_size=40)


def near(distance: int = 4, sample: float = 0.0, **options: object) -> NearDuplicates:
    return NearDuplicates(distance, sample, ttl_seconds=HOUR, **options)  # type: ignore[arg-type]


def key(digest: int) -> bytes:
    return digest.to_bytes(32)


def differing(one: int, other: int) -> int:
    return (one ^ other).bit_count()


def flipped(digest: int, bits: int, dice: random.Random) -> int:
    for bit in dice.sample(range(DIGEST_BITS), bits):
        digest ^= 1 << bit
    return digest


@given(distances, uses, digests)
def test_it_finds_what_comparing_with_all_finds(
    distance: int, remembered: list[tuple[bytes, int]], asked: int
) -> None:
    tier = near(distance)
    for context, digest in remembered:
        tier.remember(context, digest, key(digest))
    for context in (CONTEXT, OTHER):
        digests_of_context = [digest for other, digest in remembered if other == context]
        least = min((differing(digest, asked) for digest in digests_of_context), default=99)
        found = tier.find(context, asked)
        if least > distance:
            assert found is None
        else:
            assert found is not None
            assert int.from_bytes(found) in digests_of_context
            assert differing(int.from_bytes(found), asked) == least


@given(distances, st.integers(0, 2**DIGEST_BITS - 1), places, st.sampled_from([-1, 0, 1]))
def test_every_digest_within_the_distance_is_found(
    distance: int, digest: int, order: list[int], more: int
) -> None:
    bits = order[: max(0, distance + more)]
    tier = near(distance)
    tier.remember(CONTEXT, digest, b"key")
    asked = digest ^ sum(1 << bit for bit in bits)
    assert tier.find(CONTEXT, asked) == (b"key" if len(bits) <= distance else None)


@given(uses, st.integers(1, 5))
def test_the_oldest_leave_for_newer_ones(remembered: list[tuple[bytes, int]], most: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_module, "MAX_ENTRIES", most)
        tier = near(distance=2)
        for use in remembered:
            tier.remember(*use, key(use[1]))
    newest = list(dict.fromkeys(reversed(remembered)))
    for place, (context, digest) in enumerate(newest):
        found = tier.find(context, digest)
        if place < most:
            assert found == key(digest)
        else:
            assert found is None or (context, int.from_bytes(found)) in newest[:most]
    assert tier.snapshot().entries == min(most, len(newest))


def test_the_latest_key_of_a_digest_counts() -> None:
    tier = near()
    tier.remember(CONTEXT, 5, b"old")
    tier.remember(CONTEXT, 5, b"new")
    assert tier.find(CONTEXT, 5) == b"new"
    assert tier.snapshot().entries == 1


def test_what_is_remembered_expires() -> None:
    now = 100.0
    tier = near(clock=lambda: now)
    tier.remember(CONTEXT, 5, b"five")
    now += HOUR - 1
    tier.remember(OTHER, 6, b"six")
    assert tier.find(CONTEXT, 5) == b"five"
    now += 1
    assert tier.find(CONTEXT, 5) is None
    assert tier.find(OTHER, 6) == b"six"
    assert tier.snapshot().entries == 1


def test_without_time_nothing_is_remembered() -> None:
    tier = NearDuplicates(4, 0.0, ttl_seconds=0)
    tier.remember(CONTEXT, 5, b"key")
    assert tier.find(CONTEXT, 5) is None


def test_the_share_that_is_checked_is_the_one_asked_for() -> None:
    tier = near(sample=0.2, draw=random.Random(1).random)
    share = sum(tier.sampled() for _ in range(10_000)) / 10_000
    assert 0.18 < share < 0.22
    assert not any(near(sample=0.0).sampled() for _ in range(100))
    assert all(near(sample=1.0).sampled() for _ in range(100))


def test_hits_samples_and_false_hits_are_counted() -> None:
    tier = near(sample=1.0)
    assert tier.snapshot() == NearSnapshot(entries=0, hits=0, samples=0, false_hits=0)
    tier.remember(CONTEXT, 5, b"key")
    for agreed in (True, False, True):
        assert tier.sampled()
        tier.verified(agreed)
    tier.sampled()
    assert tier.snapshot() == NearSnapshot(entries=1, hits=4, samples=3, false_hits=1)


def test_a_full_one_is_still_quick() -> None:
    dice = random.Random(7)
    tier = near(distance=4)
    shown = [dice.getrandbits(DIGEST_BITS) for _ in range(near_module.MAX_ENTRIES)]
    for digest in shown:
        tier.remember(CONTEXT, digest, key(digest))
    asked = dice.sample(shown, 500)
    started = time.perf_counter()
    for digest in asked:
        assert tier.find(CONTEXT, flipped(digest, 4, dice)) == key(digest)
    assert time.perf_counter() - started < 5, "hundreds of times what it takes"
