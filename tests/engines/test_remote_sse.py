"""The parser of event streams: however a stream is cut, its events are the same."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from silkline.engines.remote.sse import MAX_EVENT_BYTES, MAX_LINE_BYTES, Event, EventParser
from silkline.errors import WorkerLost

ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
VALUES = st.binary(max_size=20).map(lambda text: text.replace(b"\r", b"").replace(b"\n", b""))
LINES = st.one_of(
    VALUES.map(lambda text: b"data: " + text),
    VALUES.map(lambda text: b"data:" + text),
    VALUES.map(lambda text: b"event: " + text),
    VALUES.map(lambda text: b": " + text),
    VALUES.map(lambda text: b"id: " + text),
    VALUES,
    st.just(b""),
)


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in pairwise(edges)]


def parsed(*pieces: bytes) -> list[Event]:
    parser = EventParser()
    return [event for piece in pieces for event in parser.feed(piece)]


@given(st.lists(st.tuples(LINES, ENDS), max_size=30), st.lists(st.integers(0, 10_000)))
@example([(b"data: a", b"\r\n"), (b"", b"\r\n")], [8])
@example([(b"data: a", b"\r"), (b"", b"\r")], [7, 8, 8])
def test_any_cut_gives_the_same_events(lines: list[tuple[bytes, bytes]], places: list[int]) -> None:
    stream = b"".join(line + end for line, end in lines)
    assert parsed(*cut(stream, places)) == parsed(stream)


@given(st.binary(max_size=300), st.lists(st.integers(0, 10_000)))
def test_any_bytes_cut_anyhow_are_the_same(stream: bytes, places: list[int]) -> None:
    assert parsed(*cut(stream, places)) == parsed(stream)


@given(st.lists(st.tuples(VALUES, st.lists(VALUES, min_size=1, max_size=3))), ENDS)
def test_what_was_written_is_read(events: list[tuple[bytes, list[bytes]]], end: bytes) -> None:
    stream = b"".join(
        b"event: " + kind + end + b"".join(b"data: " + line + end for line in lines) + end
        for kind, lines in events
    )
    assert parsed(stream) == [Event(kind, b"\n".join(lines)) for kind, lines in events]


def test_the_forms_that_servers_use() -> None:
    assert parsed(b"\xef\xbb\xbfdata:x\n\n") == [Event(b"", b"x")]
    assert parsed(b": beat\n\ndata: a\nretry: 5\ndata: b\n\n") == [Event(b"", b"a\nb")]
    assert parsed(b"event: error\n\ndata: c\n\n") == [Event(b"", b"c")]
    assert parsed(b"data\n\n") == [Event(b"", b"")]
    assert parsed(b"data: not ended") == []


@pytest.mark.parametrize(
    ("piece", "limit"),
    [(b"x" * 65536, MAX_LINE_BYTES), (b"data: " + b"x" * 65536 + b"\n", MAX_EVENT_BYTES)],
)
def test_lines_and_events_are_bounded(piece: bytes, limit: int) -> None:
    parser = EventParser()
    for _ in range(limit // 65537):
        assert parser.feed(piece) == []
    with pytest.raises(WorkerLost):
        parsed(*[piece] * (limit // 65536 + 1))
