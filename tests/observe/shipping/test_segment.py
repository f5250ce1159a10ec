from hypothesis import given
from hypothesis import strategies as st

from silkline.observe.shipping.segment import (
    HEADER_BYTES,
    MAX_EVENT_BYTES,
    Header,
    decode_header,
    decode_records,
    encode_header,
    encode_record,
    record_bytes,
)

FIRST = 1_700_000_000_000_000
EVENTS = st.lists(st.binary(max_size=40), max_size=20)


def written(events: list[bytes]) -> bytes:
    return b"".join(encode_record(FIRST + index, event) for index, event in enumerate(events))


@given(EVENTS)
def test_events_come_back_as_they_were_written(events: list[bytes]) -> None:
    data = written(events)
    assert decode_records(data, FIRST, len(data)) == events
    assert sum(map(record_bytes, events)) == len(data)


@given(EVENTS, st.integers(min_value=0))
def test_a_file_that_was_cut_off_has_exactly_the_events_before_the_cut(
    events: list[bytes], cut: int
) -> None:
    data = written(events)
    cut %= len(data) + 1
    whole = 0
    while sum(map(record_bytes, events[: whole + 1])) <= cut and whole < len(events):
        whole += 1
    assert decode_records(data[:cut], FIRST, len(data)) == events[:whole]


@given(EVENTS.filter(len), st.data())
def test_a_changed_bit_ends_the_segment_before_the_event_that_it_is_in(
    events: list[bytes], draw: st.DataObject
) -> None:
    data = bytearray(written(events))
    index = draw.draw(st.integers(0, len(data) - 1))
    data[index] ^= 1 << draw.draw(st.integers(0, 7))
    sizes = [record_bytes(event) for event in events]
    whole = next(count for count in range(len(events)) if sum(sizes[: count + 1]) > index)
    assert decode_records(bytes(data), FIRST, len(data)) == events[:whole]


@given(EVENTS, st.binary(max_size=60))
def test_bytes_of_an_older_file_after_the_end_are_no_events(
    events: list[bytes], rest: bytes
) -> None:
    data = written(events)
    for tail in (rest, bytes(64), written([rest, rest])):
        assert decode_records(data + tail, FIRST, len(data + tail)) == events or (
            tail == written([rest, rest]) and not events
        )


@given(EVENTS.filter(len), st.integers(0, 400))
def test_no_more_bytes_are_returned_than_asked_for_but_one_event(
    events: list[bytes], max_bytes: int
) -> None:
    data = written(events)
    found = decode_records(data, FIRST, max_bytes)
    size = sum(map(record_bytes, found))
    assert found == events[: len(found)]
    assert len(found) == 1 or size <= max_bytes
    if len(found) < len(events):
        assert size + record_bytes(events[len(found)]) > max_bytes


def test_the_largest_event_comes_back_and_a_larger_length_is_damage() -> None:
    event = b"x" * MAX_EVENT_BYTES
    data = encode_record(1, event)
    assert decode_records(data, 1, 1) == [event]
    larger = encode_record(1, event + b"x")
    assert decode_records(larger, 1, len(larger)) == []


@given(
    st.binary(min_size=8, max_size=8),
    st.integers(0, 2**64 - 1),
    st.integers(0, HEADER_BYTES - 1),
    st.integers(0, 7),
)
def test_a_header_comes_back_unless_it_is_damaged(
    life: bytes, first: int, index: int, bit: int
) -> None:
    header = Header(life.hex(), first)
    data = bytearray(encode_header(header))
    assert len(data) == HEADER_BYTES
    assert decode_header(bytes(data) + b"more") == header
    assert decode_header(bytes(data[:index])) is None
    data[index] ^= 1 << bit
    assert decode_header(bytes(data)) is None
