"""The exact key: two different questions are never the same."""

import time
from dataclasses import is_dataclass, replace
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from silkline.cache.key import KEY_BYTES, CacheRequest, answer_key, encode_question
from silkline.core import (
    Constraint,
    ConstraintKind,
    EngineInfo,
    ImagePart,
    Message,
    PixelBudget,
    PromptOptions,
    Role,
    Sampling,
    TextPart,
    Tool,
    ToolCall,
    ToolChoice,
)
from tests.cache.asking import asked_of, image, info
from tests.engines.asking import picture, question, request, user

# Few letters, so that boundaries fall into the same text often; one of them a lone surrogate.
texts = st.text(alphabet="ab\0\ud800", max_size=4)
digests = st.sampled_from([picture(seed).digest for seed in range(3)])
parts = st.one_of(texts.map(TextPart), st.integers(0, 2).map(ImagePart))
calls = st.builds(ToolCall, texts, texts, texts)
messages = st.builds(
    Message,
    st.sampled_from(Role),
    st.lists(parts, max_size=3).map(tuple),
    st.lists(calls, max_size=2).map(tuple),
    texts,
    texts,
)
halves = st.sampled_from([0.0, 0.5, 1.0])
schemas = st.builds(Constraint, st.sampled_from(ConstraintKind), texts, texts, texts)
samplings = st.builds(
    Sampling,
    max_tokens=st.integers(1, 3),
    temperature=halves,
    top_p=halves,
    seed=st.sampled_from([None, 0, 1, 2**64]),
    stop=st.lists(texts, max_size=3).map(tuple),
    top_k=st.integers(0, 2),
    min_p=halves,
    frequency_penalty=halves,
    presence_penalty=halves,
    repetition_penalty=halves,
    logit_bias=st.lists(st.tuples(st.integers(0, 2), halves), max_size=2).map(tuple),
    min_tokens=st.integers(0, 2),
    ignore_eos=st.booleans(),
    stop_token_ids=st.lists(st.integers(0, 2), max_size=2).map(tuple),
    include_stop=st.booleans(),
    logprobs=st.sampled_from([None, 0, 1]),
    constraint=st.none() | schemas,
    extra=texts,
)
tools = st.builds(Tool, texts, texts, texts, st.booleans())
options = st.builds(
    PromptOptions,
    tools=st.lists(tools, max_size=2).map(tuple),
    tool_choice=st.sampled_from(ToolChoice),
    tool=texts,
    parallel_tools=st.booleans(),
    thinking=st.sampled_from([None, True, False]),
    effort=texts,
    continues=st.booleans(),
)
questions = st.builds(
    CacheRequest,
    messages=st.lists(messages, min_size=1, max_size=3).map(tuple),
    images=st.lists(digests, max_size=2).map(tuple),
    sampling=samplings,
    timeout_seconds=st.just(120.0),
    stream=st.just(True),
    pixel_budgets=st.just((PixelBudget(1024),)),
    options=options,
)
infos = st.builds(
    info,
    engine=st.sampled_from(["a", "ab"]),
    model=st.sampled_from(["b", "bc", ""]),
    revision=st.sampled_from(["c", ""]),
    precision=st.sampled_from(["int8", "c"]),
)
asked = st.tuples(questions, infos, st.sampled_from([b"", b"a", b"ab"]))


def read_back(encoding: bytes) -> tuple[CacheRequest, EngineInfo, bytes]:
    """The question of an encoding; that there is one proves that no two share an encoding."""
    tenant, served, said, shown, sampled, opted = msgspec.msgpack.decode(encoding)
    engine, model, revision, precision = (_value(str, text) for text in served)
    return (
        CacheRequest(
            _value(tuple[Message, ...], said),
            _value(tuple[str, ...], shown),
            _value(Sampling, sampled),
            120.0,
            stream=True,
            pixel_budgets=(PixelBudget(1024),),
            options=_value(PromptOptions, opted),
        ),
        info(engine=engine, model=model, revision=revision, precision=precision),
        tenant,
    )


def _value(kind: Any, plain: Any) -> Any:
    """The value of this type that was encoded."""
    if plain is None or isinstance(plain, bool):
        return plain
    kinds = get_args(kind)
    if kind == TextPart | ImagePart:
        return TextPart(_value(str, plain)) if isinstance(plain, bytes) else _made(ImagePart, plain)
    if isinstance(kind, UnionType):
        return _value(kinds[0], plain)
    if get_origin(kind) is tuple:
        each = kinds[:1] * len(plain) if kinds[-1] is Ellipsis else kinds
        return tuple(map(_value, each, plain))
    if is_dataclass(kind):
        return _made(kind, plain)
    return plain.decode("utf-8", "surrogatepass") if isinstance(plain, bytes) else kind(plain)


def _made(kind: Any, plain: list[Any]) -> Any:
    kinds = get_type_hints(kind)
    assert len(kinds) == len(plain)
    return kind(*map(_value, kinds.values(), plain))


@given(asked)
def test_no_two_questions_have_the_same_encoding(
    one: tuple[CacheRequest, EngineInfo, bytes],
) -> None:
    assert read_back(encode_question(*one)) == one


@given(asked)
def test_the_same_question_has_the_same_key(one: tuple[CacheRequest, EngineInfo, bytes]) -> None:
    key = answer_key(*one)
    again, served, tenant = one
    assert len(key) == KEY_BYTES
    assert answer_key(replace(again), replace(served), tenant) == key


def test_each_part_of_a_question_counts() -> None:
    base = request(user(0, "What is this?"), user("Really"), images=(picture(1), picture(2)))
    sampling = base.sampling
    differing = [
        base,
        replace(base, images=(picture(2), picture(1))),
        replace(base, images=(picture(1), picture(2), picture(3))),
        replace(base, messages=(user(1, "What is this?"), user("Really"))),
        replace(base, messages=(user("What is this?", 0), user("Really"))),
        replace(base, messages=(user(0, "What is this?", "Really"),)),
        replace(base, messages=(user(0, "What is this?Really"),)),
        replace(base, messages=(user(0, "What is this?Re"), user("ally"))),
        replace(base, messages=(base.messages[0], Message(Role.SYSTEM, (TextPart("Really"),)))),
        replace(base, messages=(user(0, "What is this?"), user("userReally"))),
        replace(base, sampling=replace(sampling, max_tokens=25)),
        replace(base, sampling=replace(sampling, temperature=0.1)),
        replace(base, sampling=replace(sampling, top_p=0.9)),
        replace(base, sampling=replace(sampling, seed=0)),
        replace(base, sampling=replace(sampling, seed=1)),
        replace(base, sampling=replace(sampling, stop=("ab",))),
        replace(base, sampling=replace(sampling, stop=("a", "b"))),
        replace(base, sampling=replace(sampling, stop=("b", "a"))),
        replace(base, sampling=replace(sampling, stop=("",))),
    ]  # fmt: skip
    keys = {answer_key(asked_of(each), info(), b"") for each in differing}
    for change in ("engine", "model", "revision", "precision"):
        keys.add(answer_key(asked_of(base), info(**{change: "other"}), b""))
    keys.add(answer_key(asked_of(base), info(), b"tenant"))
    assert len(keys) == len(differing) + 5


def test_what_does_not_change_the_answer_does_not_count() -> None:
    base = question()
    key = answer_key(asked_of(base), info(), b"")
    for same in (
        replace(base, id="another"),
        replace(base, timeout_seconds=1.0),
        replace(base, stream=False),
        replace(base, sampling=replace(base.sampling, temperature=-0.0)),
        replace(base, sampling=replace(base.sampling, temperature=0, top_p=1)),
    ):
        assert answer_key(asked_of(same), info(), b"") == key


def test_pictures_with_the_same_bytes_but_another_shape_differ() -> None:
    pixels = bytes(30 * 100 * 3)
    shapes = [image(30, 100, pixels), image(100, 30, pixels), image(300, 10, pixels)]
    shapes.append(image(30, 100, pixels, mode="HSV"))
    keys = {answer_key(asked_of(request(user(0), images=(each,))), info(), b"") for each in shapes}
    assert len(keys) == len(shapes)


def test_a_key_costs_the_same_whatever_the_picture() -> None:
    """The pixels were hashed when the picture came in."""
    big = image(1000, 1000, bytes(3_000_000))
    asked = asked_of(request(user(0, "What is this?"), images=(big,)))
    started = time.perf_counter()
    for _ in range(100):
        answer_key(asked, info(), b"")
    assert time.perf_counter() - started < 1.0
