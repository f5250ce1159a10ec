from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from silkline.bench.answer import events, parse_server_timing, read_answer
from silkline.bench.client import Response
from silkline.bench.record import Record

STREAM = b"".join(
    b"data: " + json.dumps(chunk).encode() + b"\n\n"
    for chunk in (
        {"choices": [{"delta": {"role": "assistant", "content": ""}}]},
        {"choices": [{"delta": {"content": "A"}}]},
        {"choices": [{"delta": {"content": " mug"}}]},
        {"choices": [{"delta": {}, "finish_reason": "stop"}]},
        {
            "choices": [],
            "usage": {"prompt_tokens": 5, "completion_tokens": 2},
            "silkline": {"timeline": {"prefill": 0.25}},
        },
    )
)


def response(*chunks: tuple[float, bytes], status: int = 200, kind: str = "") -> Response:
    made = Response()
    made.status = status
    made.chunks = list(chunks)
    made.headers = {
        b"content-type": kind.encode(),
        b"x-silkline-cache": b"miss",
        b"server-timing": b"decode;dur=12.5, cache;dur=0.50",
    }
    return made


def read(made: Response) -> Record:
    record = Record(0, 0, 0, 0, 0.0)
    read_answer(made, record, 100.0)
    return record


def test_a_whole_answer_has_its_evidence() -> None:
    body = b'{"choices": [], "usage": {"prompt_tokens": 70, "completion_tokens": 9}}'
    record = read(response((101.0, body)))
    assert record.ok
    assert (record.cache, record.stages) == ("miss", {"decode": 0.0125, "cache": 0.0005})
    assert (record.prompt_tokens, record.completion_tokens) == (70, 9)


def test_a_stream_has_its_tokens_times() -> None:
    first, second, rest = STREAM.split(b"data: ")[2:5]
    head = STREAM[: STREAM.index(b"data: " + first)]
    done = STREAM[STREAM.index(b"data: " + rest) :] + b"data: [DONE]\n\n"
    record = read(
        response(
            (101.0, head),
            (102.0, b"data: " + first),
            (102.5, b"data: " + second),
            (103.0, done),
            kind="text/event-stream; charset=utf-8",
        )
    )
    assert record.ok
    assert record.first_token == pytest.approx(2.0)
    assert record.gaps == [0.5]
    assert record.completion_tokens == 2
    assert record.stages == {"prefill": 0.25}


def test_a_stream_without_its_end_is_a_failure() -> None:
    record = read(response((101.0, STREAM), kind="text/event-stream"))
    assert (record.ok, record.code) == (False, "stream_cut")


def test_an_error_event_is_a_failure_with_its_code() -> None:
    failure = b'event: error\ndata: {"error": {"code": "worker_lost"}}\n\n'
    record = read(response((101.0, STREAM + failure), kind="text/event-stream"))
    assert (record.ok, record.status, record.code) == (False, 200, "worker_lost")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"error": {"code": "overloaded"}}', "overloaded"),
        (b'{"error": {"code": 42}}', "42"),
        (b'{"error": {"code": null}}', "http_503"),
        (b'{"error": "busy"}', "http_503"),
        (b"<html>", "http_503"),
        (b"", "http_503"),
    ],
)
def test_a_refusal_has_its_code(body: bytes, code: str) -> None:
    assert read(response((101.0, body), status=503)).code == code


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b'{"usage": 1}', b'{"usage": "\xff"}', b'{"x": ' + b"[" * 9_999]
)
def test_an_answer_that_is_none_is_a_failure(body: bytes) -> None:
    assert read(response((101.0, body))).code == "malformed_response"


def test_server_timing_leaves_out_what_it_cannot_read() -> None:
    assert parse_server_timing('a;dur=1, b;desc="x";dur="2.5", c, d;dur=x, e;dur=') == {
        "a": 0.001,
        "b": 0.0025,
    }
    assert parse_server_timing("") == {}


@given(st.text(max_size=200))
def test_server_timing_takes_anything(text: str) -> None:
    assert all(seconds >= 0 for seconds in parse_server_timing(text).values())


@given(st.lists(st.integers(0, len(STREAM)), max_size=20), st.booleans())
def test_events_are_the_same_however_they_are_cut(cuts: list[int], crlf: bool) -> None:
    whole = STREAM.replace(b"\n", b"\r\n") if crlf else STREAM
    edges = [0, *sorted(cuts), len(whole)]
    pieces = [(float(n), whole[a:b]) for n, (a, b) in enumerate(itertools.pairwise(edges))]
    found = [(name, data) for _, name, data in events(pieces)]
    assert found == [(name, data) for _, name, data in events([(0.0, STREAM)])]
    assert len(found) == 5


@example(b"data:[DONE]\n\n")
@given(st.binary(max_size=300))
def test_any_stream_is_read_to_a_verdict(noise: bytes) -> None:
    assert read(response((101.0, noise), kind="text/event-stream")).code
