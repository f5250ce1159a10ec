import pytest

from silkline.observe.trace_context import TraceContext, trace_context

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def given(*headers: tuple[str, str], ratio: float = 0.0) -> TraceContext:
    return trace_context([(name.encode(), value.encode()) for name, value in headers], ratio)


@pytest.mark.parametrize(("flags", "sampled"), [("01", True), ("00", False), ("03", True)])
def test_the_trace_of_the_caller_is_continued(flags: str, sampled: bool) -> None:
    context = given(("traceparent", f"00-{TRACE}-{SPAN}-{flags}"), ("tracestate", "a=1,b=2"))
    assert context.trace_id == TRACE
    assert context.parent_id == SPAN
    assert context.span_id != SPAN
    assert context.sampled is sampled
    assert dict(context.headers) == {
        "traceparent": f"00-{TRACE}-{context.span_id}-{int(sampled):02x}",
        "tracestate": "a=1,b=2",
    }


def test_several_lines_of_state_are_joined() -> None:
    parent = ("traceparent", f"00-{TRACE}-{SPAN}-01")
    assert given(parent, ("tracestate", "a=1"), ("tracestate", "b=2")).state == "a=1,b=2"


def test_a_later_version_may_have_more_at_its_end() -> None:
    assert given(("traceparent", f"01-{TRACE}-{SPAN}-01-more")).trace_id == TRACE


@pytest.mark.parametrize(
    "value",
    [
        "",
        "nonsense",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{TRACE}-{SPAN}-0g",
    ],
)
def test_an_invalid_context_begins_a_new_trace(value: str) -> None:
    context = given(("traceparent", value), ("tracestate", "a=1"))
    if value.strip() == f"00-{TRACE}-{SPAN}-01":
        assert context.trace_id == TRACE  # white space around a header's value does not count
        return
    assert context.trace_id != TRACE
    assert context.parent_id == context.state == ""


def test_two_contexts_begin_a_new_trace() -> None:
    parent = ("traceparent", f"00-{TRACE}-{SPAN}-01")
    assert given(parent, parent).trace_id != TRACE


@pytest.mark.parametrize("state", ["x" * 513, "a=\u00e9", "a=\x01"])
def test_a_state_that_no_server_may_send_is_dropped(state: str) -> None:
    context = given(("traceparent", f"00-{TRACE}-{SPAN}-01"), ("tracestate", state))
    assert context.trace_id == TRACE
    assert context.state == ""


def test_the_ratio_decides_about_traces_that_begin_here() -> None:
    assert not any(given().sampled for _ in range(200))
    assert all(given(ratio=1.0).sampled for _ in range(200))
    assert 300 < sum(given(ratio=0.2).sampled for _ in range(2500)) < 700


def test_ids_have_their_form_and_are_drawn_anew() -> None:
    contexts = [given() for _ in range(50)]
    assert {len(context.trace_id) for context in contexts} == {32}
    assert {len(context.span_id) for context in contexts} == {16}
    assert len({context.trace_id for context in contexts}) == 50
