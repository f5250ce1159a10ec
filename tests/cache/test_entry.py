"""The stored form: what is not exactly what was stored is nothing."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from silkline.cache import entry as entry_module
from silkline.cache.entry import (
    HEADER_BYTES,
    MAGIC,
    MAX_ENTRY_BYTES,
    Entry,
    decode_entry,
    encode_entry,
)
from silkline.core import Answer, FinishReason, Stage, Timeline, Usage
from tests.cache.asking import KEY, answer

counts = st.integers(0, 2**31)
seconds = st.floats(0, 1e6)
answers = st.builds(
    Answer,
    st.text(st.characters(exclude_categories=["Cs"])),
    st.sampled_from(FinishReason),
    st.builds(Usage, counts, counts, counts, counts),
    st.dictionaries(st.sampled_from(Stage), seconds).map(Timeline),
)
entries = st.builds(Entry, answers, seconds)
keys = st.binary(min_size=32, max_size=32)


def stored(key: bytes = KEY) -> bytes:
    value = encode_entry(key, Entry(answer(), 1000.0))
    assert value is not None
    return value


def forged(payload: object) -> bytes:
    """Anything, under a right checksum: what an attacker may write."""
    text = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return MAGIC + entry_module._checksum(KEY, text) + text


@given(keys, entries)
def test_what_is_stored_comes_back(key: bytes, entry: Entry) -> None:
    value = encode_entry(key, entry)
    assert value is not None
    assert decode_entry(key, value) == entry


def test_every_truncation_is_refused() -> None:
    value = stored()
    assert all(decode_entry(KEY, value[:length]) is None for length in range(len(value)))
    assert decode_entry(KEY, value + b" ") is None


def test_every_flipped_bit_is_refused() -> None:
    value = stored()
    for place in range(len(value)):
        for bit in range(8):
            altered = bytearray(value)
            altered[place] ^= 1 << bit
            assert decode_entry(KEY, bytes(altered)) is None


def test_a_value_under_another_key_is_refused() -> None:
    assert decode_entry(bytes(32), stored()) is None


@given(st.binary(max_size=200))
def test_other_bytes_are_refused(value: bytes) -> None:
    assert decode_entry(KEY, value) is None
    assert decode_entry(KEY, MAGIC + value) is None


@pytest.mark.parametrize(
    "payload",
    [
        {},
        [],
        None,
        b"",
        b"\xff\xfe",
        b'{"answer":' + b"[" * 100_000,
        b'{"answer": {"more": ' + b"[" * 100_000,
        {"answer": "a red mug", "stored_at": 1.0},
        {**json.loads(stored()[HEADER_BYTES:]), "more": 1},
        {"answer": json.loads(stored()[HEADER_BYTES:])["answer"]},
        {"answer": json.loads(stored()[HEADER_BYTES:])["answer"], "stored_at": "now"},
        b'{"answer": {"text": "\xff"}}',
    ],
)
def test_a_right_checksum_does_not_make_it_an_answer(payload: object) -> None:
    assert decode_entry(KEY, forged(payload)) is None


def test_the_forger_of_these_tests_can_make_a_good_one() -> None:
    assert decode_entry(KEY, forged(stored()[HEADER_BYTES:])) is not None


def test_an_answer_that_is_too_long_is_not_stored() -> None:
    assert encode_entry(KEY, Entry(answer("x" * MAX_ENTRY_BYTES), 0.0)) is None
    longest = answer("x" * (MAX_ENTRY_BYTES - 1000))
    assert encode_entry(KEY, Entry(longest, 0.0)) is not None


def test_text_without_utf8_is_not_stored() -> None:
    assert encode_entry(KEY, Entry(answer("\ud800"), 0.0)) is None
