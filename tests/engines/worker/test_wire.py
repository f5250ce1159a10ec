"""Everything that crosses the wire comes out as it went in, and nothing else comes out."""

import dataclasses
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from silkline.core import (
    Constraint,
    ConstraintKind,
    Delta,
    EngineInfo,
    Feature,
    FinishReason,
    Health,
    Image,
    ImagePart,
    LoraAdapter,
    Message,
    PixelBudget,
    PromptOptions,
    Request,
    Role,
    Sampling,
    Stage,
    TextPart,
    Timeline,
    TokenLogprob,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolChoice,
    Usage,
)
from silkline.engines.base import EngineOptions
from silkline.engines.worker import wire
from silkline.errors import (
    ERRORS_BY_CODE,
    CapacityError,
    ConfigError,
    DeadlineExceeded,
    InternalFault,
    InvalidRequest,
    Overloaded,
    SilklineError,
)
from tests.engines.asking import picture, question

counts = st.integers(0, 2**31)
seconds = st.floats(0, 1e6)
text = st.text(max_size=20)


@st.composite
def images(draw: st.DrawFn) -> Image:
    width, height = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    size = width * height * 3
    return Image(width, height, draw(st.binary(min_size=size, max_size=size)), draw(text))


messages = st.builds(
    Message,
    st.sampled_from(Role),
    st.lists(st.builds(TextPart, text) | st.builds(ImagePart, counts), max_size=3).map(tuple),
    st.lists(st.builds(ToolCall, text, text, text), max_size=2).map(tuple),
    text,
    text,
)
constraints = st.builds(Constraint, st.sampled_from(ConstraintKind), text, text, text)
options = st.builds(
    PromptOptions,
    tools=st.lists(st.builds(Tool, text, text, text, st.booleans()), max_size=2).map(tuple),
    tool_choice=st.sampled_from(ToolChoice),
    tool=text,
    parallel_tools=st.booleans(),
    thinking=st.none() | st.booleans(),
    effort=text,
    continues=st.booleans(),
    raw=st.booleans(),
)
requests = st.builds(
    Request,
    id=text,
    messages=st.lists(messages, min_size=1, max_size=3).map(tuple),
    images=st.lists(images(), max_size=2).map(tuple),
    sampling=st.builds(
        Sampling,
        max_tokens=st.integers(0, 10**6),
        temperature=st.floats(0, 2),
        top_p=st.floats(0.01, 1),
        seed=st.none() | st.integers(-(2**63), 2**63),
        stop=st.lists(text, max_size=2).map(tuple),
        top_k=counts,
        min_p=st.floats(0, 1),
        frequency_penalty=st.floats(-2, 2),
        presence_penalty=st.floats(-2, 2),
        repetition_penalty=st.floats(0.1, 10),
        logit_bias=st.lists(st.tuples(counts, st.floats(-100, 100)), max_size=2).map(tuple),
        min_tokens=counts,
        ignore_eos=st.booleans(),
        stop_token_ids=st.lists(counts, max_size=2).map(tuple),
        include_stop=st.booleans(),
        logprobs=st.none() | st.integers(0, 20),
        constraint=st.none() | constraints,
        extra=text,
    ),
    timeout_seconds=seconds,
    stream=st.booleans(),
    options=options,
    reuse_scope=st.none() | st.binary(max_size=20),
    adapter=st.none() | st.builds(LoraAdapter, text, text, text, counts),
)
alternatives = st.builds(TokenLogprob, text, st.binary(max_size=4), st.floats(-100, 0))
deltas = st.builds(
    Delta,
    text,
    st.none() | st.sampled_from(FinishReason),
    st.none() | st.builds(Usage, counts, counts, counts, counts, counts),
    st.none() | st.dictionaries(st.sampled_from(Stage), seconds).map(Timeline),
    text,
    st.lists(st.builds(ToolCallDelta, counts, text, text, text), max_size=2).map(tuple),
    st.lists(
        st.builds(
            TokenLogprob,
            text,
            st.binary(max_size=4),
            st.floats(-100, 0),
            st.lists(alternatives, max_size=2).map(tuple),
        ),
        max_size=2,
    ).map(tuple),
    text,
    st.lists(counts, max_size=3).map(tuple),
)
healths = st.builds(Health, counts, counts, seconds, st.floats(0, 1))
infos = st.builds(
    EngineInfo,
    engine=text,
    model=text,
    revision=text,
    precision=text,
    context_length=st.integers(1, 10**6),
    image_tokens=counts,
    pixel_budget=st.builds(
        PixelBudget, st.integers(1, 10**9), st.none() | st.integers(1, 10**5), st.integers(0, 10**9)
    ),
    pixels_per_token=st.none() | st.integers(1, 10**5),
    instruction_set=st.none() | st.text(max_size=20),
    features=st.frozensets(st.sampled_from(Feature)),
)


@given(requests)
def test_requests_come_out_as_they_went_in(request: Request) -> None:
    assert wire.decode_request(wire.encode_request(request)) == request


@given(deltas)
def test_deltas_come_out_as_they_went_in(delta: Delta) -> None:
    assert wire.decode_delta(wire.encode_delta(delta)) == delta


@given(healths, infos)
def test_health_and_info_come_out_as_they_went_in(health: Health, info: EngineInfo) -> None:
    assert wire.decode_health(wire.encode_health(health)) == health
    assert wire.decode_info(wire.encode_info(info)) == info


def test_options_come_out_as_they_went_in() -> None:
    options = EngineOptions(
        Path("/models/größe"),
        3,
        2**33,
        2**30,
        4,
        {"mode": "echo"},
        "my-model",
        "0a1b2c",
        (LoraAdapter("formal@1", "/adapters/formal", "1", 8),),
    )
    assert wire.decode_options(wire.encode_options(options)) == options
    assert wire.decode_options(wire.encode_options(EngineOptions())) == EngineOptions()


@pytest.mark.parametrize("kind", ERRORS_BY_CODE.values())
def test_errors_come_out_as_they_went_in(kind: type[SilklineError]) -> None:
    error = kind("What happened.", param="messages")
    if isinstance(error, CapacityError) and kind is not DeadlineExceeded:
        error.retry_after = 7
    told = wire.decode_error(wire.encode_error(error))
    assert type(told) is kind
    assert vars(told) == vars(error)


def test_an_error_without_a_face_becomes_an_internal_fault() -> None:
    assert type(wire.decode_error(wire.encode_error(ConfigError("Wrong.")))) is InternalFault
    assert isinstance(wire.decode_error(wire.encode_error(Overloaded("Full."))), Overloaded)


def changed(place: int, value: object, *inner: int) -> bytes:
    """A good request's body with one value replaced; `place` and `inner` lead to it."""
    body = msgspec.msgpack.decode(wire.encode_request(question()))
    at = body
    for step in (place, *inner)[:-1]:
        at = at[step]
    at[(place, *inner)[-1]] = value
    return msgspec.msgpack.encode(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x93",
        b"\xc1",
        b"\x80",
        changed(0, wire.WIRE_VERSION + 1),  # another version
        changed(1, 7),  # the id is no text
        changed(2, []),  # no messages
        changed(2, "critic", 0, 0),  # an unknown role
        changed(2, -1, 0, 1, 0),  # a picture before the first
        changed(2, 1.5, 0, 1, 0),  # neither text nor a picture
        changed(2, True, 0, 1, 0),
        changed(3, 0, 0, 0),  # a picture without width
        changed(3, 95, 0, 0),  # too many pixels for its size
        changed(3, "text", 0, 2),  # pixels that are no bytes
        changed(4, -1, 0),  # fewer than no tokens
        changed(4, -0.1, 1),
        changed(4, float("nan"), 1),
        changed(4, float("inf"), 1),
        changed(4, 0.0, 2),
        changed(5, -1.0),
        changed(5, float("inf")),
        changed(6, 1),
        wire.encode_request(question()) + b"\x00",  # something after the end
        wire.encode_delta(Delta("")),
    ],
)
def test_a_request_of_another_form_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="between gateway and worker is malformed"):
        wire.decode_request(body)


@given(st.binary(max_size=200))
def test_noise_is_refused(body: bytes) -> None:
    for decode in (wire.decode_request, wire.decode_info, wire.decode_error, wire.decode_options):
        with pytest.raises(InvalidRequest):
            decode(body)


@given(st.data())
def test_a_damaged_request_is_refused_or_still_a_request(data: st.DataObject) -> None:
    body = bytearray(wire.encode_request(question(seed=None)))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        request = wire.decode_request(bytes(body))
    except InvalidRequest:
        return
    assert wire.decode_request(wire.encode_request(request)) == request


def test_a_missing_or_further_field_is_refused() -> None:
    body = msgspec.msgpack.decode(wire.encode_request(question()))
    for wrong in (body[:-1], [*body, None]):
        with pytest.raises(InvalidRequest):
            wire.decode_request(msgspec.msgpack.encode(wrong))


def test_what_msgpack_cannot_hold_is_the_requests_fault() -> None:
    with pytest.raises(InvalidRequest, match="surrogate"):
        wire.encode_request(question("half \ud83d of it"))
    with pytest.raises(InvalidRequest, match="64 bits"):
        wire.encode_request(question(sampling=Sampling(seed=2**64)))


def test_the_pixels_must_fit_the_size() -> None:
    wrong = dataclasses.replace(picture(), width=95)
    with pytest.raises(InvalidRequest):
        wire.decode_request(wire.encode_request(dataclasses.replace(question(), images=(wrong,))))
