"""The slots, against a plain reference: a list of rows a request."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from silkline.engines.torch.slots import KvSlots, LayerShape, StateShape, bucket

LAYERS = {0: LayerShape(2, 3, 3), 1: LayerShape(1, 4, 2)}
TOKEN_BYTES = 4 * (2 * 6 + 6)


def made(budget_tokens: int = 10_000, most_slots: int = 8) -> KvSlots:
    return KvSlots(
        LAYERS,
        max_slots=most_slots,
        budget=budget_tokens * TOKEN_BYTES,
        dtype=torch.float32,
        device=torch.device("cpu"),
    )


def write(slots: KvSlots, slot: int, place: int, value: float) -> None:
    for tensor in slots.tensors:
        tensor[slot, :, place] = value


def read(slots: KvSlots, slot: int, filled: int) -> list[list[float]]:
    """Each layer's keys and values; every number of a token must be the same."""
    rows = []
    for tensor in slots.tensors:
        kept = tensor[slot, :, :filled].transpose(0, 1).flatten(1)
        assert bool((kept == kept[:, :1]).all())
        rows.append(kept[:, 0].tolist())
    return rows


moves = st.lists(
    st.one_of(
        st.tuples(st.just("join"), st.integers(1, 150)),
        st.tuples(st.just("grow"), st.integers(0, 7)),
        st.tuples(st.just("leave"), st.integers(0, 7)),
    ),
    max_size=40,
)


@given(moves)
@settings(max_examples=60, deadline=None)
def test_joins_growth_and_leaves_keep_everyones_keys_and_values(
    script: list[tuple[str, int]],
) -> None:
    with torch.inference_mode():
        slots = made()
        reference: list[list[float]] = []
        number = 0.0
        for what, amount in script:
            filled = [len(rows) for rows in reference]
            if what == "join" and len(reference) < 8:
                slots.reserve(len(reference) + 1, max([amount, *filled]), filled=filled)
                reference.append([])
                new = amount
            elif what == "grow" and reference:
                slots.reserve(len(reference), max(filled) + 1, filled=filled)
                new = 1
            elif what == "leave" and reference:
                place = amount % len(reference)
                last = reference.pop()
                if place < len(reference):
                    slots.move(len(reference), place, len(last))
                    reference[place] = last
                continue
            else:
                continue
            place = len(reference) - 1 if what == "join" else amount % len(reference)
            if len(reference[place]) + new > slots.length:
                continue
            for _ in range(new):
                number += 1
                write(slots, place, len(reference[place]), number)
                reference[place].append(number)
            for slot, rows in enumerate(reference):
                assert read(slots, slot, len(rows)) == [rows] * 4
            assert slots.count * slots.length <= 10_000


def test_the_storage_follows_the_longest_and_never_passes_the_budget() -> None:
    slots = made(budget_tokens=1000)
    slots.reserve(1, 10)
    assert slots.length == 64
    slots.reserve(3, 200, filled=[10])
    assert (slots.count, slots.length) == (3, 256), "four would not fit"
    slots.reserve(5, 200, filled=[10, 200, 3])
    assert (slots.count, slots.length) == (5, 200), "no bucket fits, but what is needed does"
    assert slots.fits(5, 200)
    assert not slots.fits(5, 201)
    slots.reserve(1, 30, filled=[10])
    assert (slots.count, slots.length) == (1, 64), "the long ones have left"


def test_storage_that_is_large_enough_stays_where_it_is() -> None:
    slots = made()
    slots.reserve(3, 100)
    version, keys = slots.version, slots.keys[0]
    slots.reserve(4, 101, filled=[100, 100, 100])
    assert slots.version == version
    assert slots.keys[0] is keys


def test_nothing_that_is_not_written_is_a_nan() -> None:
    slots = made()
    torch.use_deterministic_algorithms(True)  # fills memory that is not initialised with NaN
    try:
        for length in (50, 300, 900):
            slots.reserve(2, length)
            assert all(bool(tensor.isfinite().all()) for tensor in slots.tensors)
    finally:
        torch.use_deterministic_algorithms(False)


def test_slots_grow_by_a_quarter_at_most() -> None:
    lengths = sorted({bucket(length) for length in range(1, 9000)})
    for shorter, longer in pairwise(lengths):
        assert longer - shorter <= max(64, shorter / 4)


def test_half_precision_is_read_in_one_piece_where_little_is_left_out() -> None:
    for dtype, expected in ((torch.bfloat16, (100, 128)), (torch.float32, (100, 110))):
        slots = KvSlots(
            LAYERS, max_slots=2, budget=1 << 20, dtype=dtype, device=torch.device("cpu")
        )
        slots.reserve(1, 120)
        assert slots.length == 128
        assert (slots.worth_reading(100), slots.worth_reading(110)) == expected


def test_steady_storage_doubles_and_does_not_shrink() -> None:
    slots = KvSlots(
        LAYERS,
        max_slots=8,
        budget=8 * 256 * TOKEN_BYTES,
        dtype=torch.float32,
        device=torch.device("cpu"),
        steady=True,
    )
    slots.reserve(1, 40)
    assert (slots.count, slots.length) == (8, 64)
    slots.reserve(2, 130, filled=[64, 64])
    assert (slots.count, slots.length) == (8, 256)
    version = slots.version
    slots.reserve(1, 10, filled=[10])
    assert slots.version == version


def test_states_go_with_their_slots_and_begin_as_zeros() -> None:
    shape = StateShape((2, 3), torch.float32)
    state = 4 * 2 * 3
    slots = KvSlots(
        LAYERS,
        max_slots=4,
        budget=2 * (64 * TOKEN_BYTES + state),
        dtype=torch.float32,
        device=torch.device("cpu"),
        states={5: (shape,)},
    )
    assert slots.fits(2, 64)
    assert not slots.fits(2, 65)
    assert slots.max_tokens == 2 * 64 + state // TOKEN_BYTES
    slots.reserve(1, 10)
    slots.states[5][0][0] = 1
    slots.reserve(2, 60, filled=[10, 0])
    slots.begin(1, 5)
    assert slots.states[5][0][:, 0, 0].tolist() == [1, 0]
    slots.states[5][0][1] = 2
    slots.move(1, 0, 5)
    assert slots.states[5][0][:, 0, 0].tolist() == [2, 2]
    slots.begin(0, 5)
    assert slots.states[5][0][:, 0, 0].tolist() == [0, 2]


def test_a_slot_that_is_moved_into_or_cleared_holds_nothing_of_those_before() -> None:
    slots = made()
    slots.reserve(2, 64)
    for place in range(20):
        write(slots, 0, place, math.nan)
        write(slots, 1, place, 1.0)
    slots.move(1, 0, 5)
    assert read(slots, 0, 64) == [[1.0] * 5 + [0.0] * 59] * 4
    slots.clear(1, 7)
    assert read(slots, 1, 64) == [[1.0] * 7 + [0.0] * 57] * 4


@pytest.mark.parametrize("steady", [False, True])
def test_those_who_join_one_by_one_move_the_storage_seldom_in_a_small_budget_too(
    steady: bool,
) -> None:
    slots = made(budget_tokens=1000)
    slots._steady = steady
    for count in range(1, 8):
        slots.reserve(count, 120, filled=[120] * (count - 1))
        assert slots.fits(slots.count, slots.length)
    assert slots.version <= (1 if steady else 4)
