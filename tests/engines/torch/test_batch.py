"""The batch: who shares a step, who waits, who is sent back, and that no answer depends on it."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from silkline.core import Delta, FinishReason, Request, Sampling
from silkline.engines.stepper import Failed
from silkline.engines.torch.job import Job
from silkline.engines.torch.load_model import PackedModel, load
from silkline.engines.torch.options import TorchOptions
from silkline.errors import ConfigError, InternalFault, InvalidRequest
from tests.engines.asking import picture, question, request, user
from tests.engines.torch import driving


def asked(number: int, tokens: int = 20, **sampling: Any) -> Request:
    """Requests of many lengths, with none to two pictures."""
    text = "What is this? " * (1 + number % 5)
    most = Sampling(max_tokens=tokens + number % 7, **sampling)
    if number % 4 == 3:
        images = (picture(number), picture(number + 1))
        return request(user(0, "and", 1, text), images=images, sampling=most)
    return question(text, seed=None if number % 4 == 2 else number, sampling=most)


def count_batches(model: Any, monkeypatch: Any) -> list[int]:
    """How many pictures are encoded at a time."""
    batches: list[int] = []
    encode = model.family.encode

    def counted(pictures: Any) -> Any:
        batches.append(len(pictures))
        return encode(pictures)

    monkeypatch.setattr(model.family, "encode", counted)
    return batches


@pytest.fixture(scope="module")
def model(llava: Path) -> Any:
    return driving.loaded(llava)


@pytest.fixture(scope="module")
def expected(model: Any) -> Callable[[Request], list[int]]:
    """The answer's tokens of a request that is alone."""
    known: dict[Request, list[int]] = {}

    def tokens(asked: Request) -> list[int]:
        if asked not in known:
            known[asked] = driving.alone(model, asked)
        return known[asked]

    return tokens


@pytest.mark.parametrize("chunk", [5, 16, 400])
def test_staggered_requests_get_the_answers_they_get_alone(
    llava: Path, expected: Callable[[Request], list[int]], chunk: int
) -> None:
    driver = driving.Driver(driving.loaded(llava, prefill_chunk=chunk))
    requests = [asked(number) for number in range(10)]
    jobs: list[Any] = []
    for step, each in enumerate(requests):
        jobs.append(driver.add(each))
        for _ in range(step % 4):
            driver.step()
    driver.run()
    assert [each.generated for each in jobs] == [expected(each) for each in requests]
    assert all(isinstance(driver.ended[each], Delta) for each in jobs)


def test_prefill_and_next_tokens_share_a_step(llava: Path, monkeypatch: Any) -> None:
    driver = driving.Driver(driving.loaded(llava, prefill_chunk=16))
    runner = driver.model.batch._runner
    seen: list[tuple[int, int]] = []
    run = runner.run

    def noted(decoding: Any, parts: Any) -> Any:
        seen.append((len(decoding), sum(part.end - part.start for part in parts)))
        return run(decoding, parts)

    monkeypatch.setattr(runner, "run", noted)
    driver.add(asked(0, tokens=40))
    for _ in range(8):
        driver.step()
    for number in (1, 5, 2):
        driver.add(asked(number))
    driver.run()
    assert max(tokens for _, tokens in seen) <= 16
    both = [tokens for decoding, tokens in seen if decoding and tokens]
    assert len(both) > 4
    assert any(decoding == 4 for decoding, _ in seen)


def test_a_seed_gives_the_same_answer_whatever_the_batch(model: Any) -> None:
    requests = [
        asked(
            number,
            temperature=1.0 + 0.2 * (number % 3),
            top_p=(1.0, 0.8)[number % 2],
            seed=number,
            top_k=(0, 0, 30)[number % 3],
            min_p=(0.0, 0.01)[number // 4],
            frequency_penalty=(0.0, 0.5, 0.0, -0.5)[number % 4],
            repetition_penalty=(1.0, 1.0, 1.3)[number % 3],
            logit_bias=((), ((40, 2.0),))[number % 2],
            min_tokens=(0, 5)[number // 4],
        )
        for number in range(8)
    ]
    expected = [driving.alone(model, each) for each in requests]
    driver = driving.Driver(model)
    jobs = [driver.add(each) for each in requests]
    driver.run()
    assert [each.generated for each in jobs] == expected
    assert len({tuple(each) for each in expected}) == 8


def test_those_for_whom_there_is_no_room_wait(
    llava: Path, expected: Callable[[Request], list[int]]
) -> None:
    small = driving.loaded(llava, kv_cache_bytes=1 << 17)
    slots = small.batch._slots
    driver = driving.Driver(small)
    requests = [asked(number) for number in range(8)]
    jobs = [driver.add(each) for each in requests]
    most = 0
    while driver.running or driver.waiting:
        driver.step()
        most = max(most, len(driver.running))
        assert slots.count * slots.length * slots.token_bytes <= 1 << 17
    assert most < 4, "the budget was no limit"
    assert [each.generated for each in jobs] == [expected(each) for each in requests]


@pytest.mark.slow
def test_the_youngest_is_sent_back_when_the_slots_cannot_grow(
    llava: Path, expected: Callable[[Request], list[int]], monkeypatch: Any
) -> None:
    """Long answers outgrow the room that was there when they joined."""
    small = driving.loaded(llava, kv_cache_bytes=1 << 18)
    rewound: list[Any] = []
    rewind = Job.rewind

    def noted(job: Any) -> None:
        if job.generated:
            rewound.append(job)
        rewind(job)

    monkeypatch.setattr(Job, "rewind", noted)
    driver = driving.Driver(small)
    long = Sampling(max_tokens=200, seed=3, temperature=1.5)
    requests = [question(f"Count {n}.", seed=n, sampling=long) for n in range(4)]
    jobs = [driver.add(each) for each in requests]
    driver.run()
    assert rewound, "nobody was sent back"
    assert max(len(each.generated) for each in jobs) > 150
    monkeypatch.undo()
    assert [each.generated for each in jobs] == [expected(each) for each in requests]


def test_a_cache_too_small_for_any_request_is_refused(llava: Path) -> None:
    with pytest.raises(ConfigError, match="Raise kv_cache_bytes"):
        driving.loaded(llava, kv_cache_bytes=1 << 10)


@pytest.mark.slow
def test_whoever_leaves_harms_nobody(llava: Path, expected: Callable[[Request], list[int]]) -> None:
    """Random arrivals, and random requests that are cancelled at any time."""
    driver = driving.Driver(driving.loaded(llava, prefill_chunk=7, kv_cache_bytes=1 << 19))
    dice = random.Random(5)
    kept: dict[Any, Request] = {}
    doomed: list[Any] = []
    for number in range(40):
        made = driver.add(asked(number, tokens=12))
        if dice.random() < 0.4:
            doomed.append(made)
        else:
            kept[made] = asked(number, tokens=12)
        for _ in range(dice.randrange(6)):
            driver.step()
            if doomed and dice.random() < 0.3:
                driver.cancel(doomed.pop(dice.randrange(len(doomed))))
    for each in doomed:
        driver.cancel(each)
    driver.run()
    assert all(each.generated == expected(asked) for each, asked in kept.items())
    assert not driver.model.batch._decoding


@pytest.mark.parametrize("error", [RuntimeError("shape"), InternalFault("features")])
def test_a_picture_that_cannot_be_encoded_harms_its_request_alone(
    llava: Path, expected: Callable[[Request], list[int]], monkeypatch: Any, error: Exception
) -> None:
    model = driving.loaded(llava)
    bad = request(user(0, "Look", 1), images=(picture(1), picture(99)))
    encode = model.family.encode
    broken = model.family.prepare(bad.messages, bad.images).images[1].digest

    def picky(pictures: Any) -> Any:
        if any(each.digest == broken for each in pictures):
            raise error
        return encode(pictures)

    monkeypatch.setattr(model.family, "encode", picky)
    driver = driving.Driver(model)
    good = [driver.add(asked(number)) for number in range(2)]
    refused = driver.add(bad)
    late = driver.add(asked(3))
    driver.run()
    event = driver.ended[refused]
    assert isinstance(event, Failed)
    assert isinstance(event.error, InvalidRequest)
    assert [each.generated for each in (*good, late)] == [
        expected(asked(number)) for number in (0, 1, 3)
    ]


def test_pictures_that_wait_are_encoded_together_and_known_ones_not_again(
    llava: Path, monkeypatch: Any
) -> None:
    model = driving.loaded(llava, feature_cache_bytes=1 << 20)
    batches = count_batches(model, monkeypatch)
    driver = driving.Driver(model)
    for number in (0, 1, 0, 4):
        driver.add(question(seed=number))
    driver.run()
    assert batches == [3], "one batch, and the picture that came twice only once"
    driver.add(question("Another question", seed=4))
    driver.run()
    assert batches == [3]


def test_while_others_generate_pictures_are_taken_in_small_bites(
    llava: Path, monkeypatch: Any
) -> None:
    model = driving.loaded(llava)
    batches = count_batches(model, monkeypatch)
    driver = driving.Driver(model, max_batch=12)
    driver.add(asked(2, tokens=60))
    driver.step()
    vision = model.batch._vision
    for number in range(6):
        driver.add(question(seed=100 + number))
    while driver.waiting or model.batch._unencoded:
        vision._token_seconds = 1.0  # as if the vision tower was very slow
        driver.step()
    assert batches == [1] * 6


def test_the_end_token_and_the_limit_end_an_answer(model: Any, monkeypatch: Any) -> None:
    first = driving.Driver(model)
    whole = first.add(asked(1))
    first.run()
    ended = first.ended[whole]
    assert isinstance(ended, Delta)
    assert ended.finish_reason is FinishReason.LENGTH
    monkeypatch.setattr(model.batch, "_end_ids", frozenset({whole.generated[4]}))
    second = driving.Driver(model)
    cut = second.add(asked(1))
    second.run()
    ended = second.ended[cut]
    assert isinstance(ended, Delta)
    assert ended.finish_reason is FinishReason.STOP
    assert cut.generated == whole.generated[: len(cut.generated)]
    assert ended.usage is not None
    assert ended.usage.completion_tokens == len(cut.generated) <= 5


def test_the_padded_decode_step_gives_the_same_answers(
    llava: Path, expected: Callable[[Request], list[int]]
) -> None:
    """The buffers and buckets that CUDA graphs need, without a capture."""
    model = driving.loaded(llava, max_batch=6)
    decoder = model.batch._runner._decoder
    decoder._padded = model.batch._slots._steady = True
    assert not decoder._captures
    driver = driving.Driver(model, max_batch=6)
    requests = [asked(number) for number in range(9)]
    jobs = []
    for each in requests:
        jobs.append(driver.add(each))
        for _ in range(3):
            driver.step()
    versions = set()
    while driver.running or driver.waiting:
        driver.step()
        versions.add(model.batch._slots.version)
    assert {count for count, _ in decoder._frames} <= {1, 2, 4, 6}
    assert len(versions) <= 2, "the storage moved too often"
    assert [each.generated for each in jobs] == [expected(each) for each in requests]


def test_both_ways_to_attend_give_the_same_answers(
    llava: Path, expected: Callable[[Request], list[int]]
) -> None:
    options = TorchOptions(device="cpu", attention="eager", prefill_chunk=9)
    eager = load(llava, options, max_batch=4, kv_cache_bytes=1 << 24)
    assert isinstance(eager, PackedModel)
    requests = [asked(number) for number in range(4)]
    driver = driving.Driver(eager)
    jobs = [driver.add(each) for each in requests]
    driver.run()
    assert [each.generated for each in jobs] == [expected(each) for each in requests]


def test_a_prefill_that_has_begun_gives_way_to_those_who_generate(
    llava: Path, expected: Callable[[Request], list[int]]
) -> None:
    """Its slot and theirs outgrow the budget before its last piece is in."""
    token_bytes = driving.loaded(llava).batch._slots.token_bytes
    small = driving.loaded(llava, kv_cache_bytes=252 * token_bytes, prefill_chunk=1)
    slots = small.batch._slots
    driver = driving.Driver(small)
    free = Sampling(temperature=1.5, seed=2)
    old = question("Count.", seed=None, sampling=replace(free, max_tokens=200))
    young = question("Why? " * 16, seed=None, sampling=replace(free, max_tokens=5))
    first = driver.add(old)
    while first.filled < 60:
        driver.step()
    second = driver.add(young)
    begun, gave_way = False, False
    while driver.running or driver.waiting:
        driver.step()
        gave_way |= begun and not second.filled and not second.generated
        assert slots.count * slots.length <= 252
        begun |= second.filled > 0
    assert gave_way
    assert [first.generated, second.generated] == [expected(old), expected(young)]


def test_a_request_without_numbers_ends_alone_and_leaves_nothing_behind(
    llava: Path, expected: Callable[[Request], list[int]], monkeypatch: Any
) -> None:
    """As where float16 overflows; what it left in its slot is masked, but NaN times zero is NaN."""
    model = driving.loaded(llava)
    driver = driving.Driver(model)
    long = driver.add(asked(0, tokens=90))
    for _ in range(8):
        driver.step()
    embed = model.family.embed
    monkeypatch.setattr(model.family, "embed", lambda *of: embed(*of) * float("nan"))
    broken = driver.add(question("Why? " * 10, seed=None))
    gone = driver.add(question("Who? " * 10, seed=None))
    for _ in range(3):
        driver.step()
    driver.cancel(gone)
    monkeypatch.undo()
    while broken in driver.running:
        driver.step()
    late = driver.add(question("Hi.", seed=None))
    driver.run()
    event = driver.ended[broken]
    assert isinstance(event, Failed)
    assert isinstance(event.error, InternalFault)
    assert long.generated == expected(asked(0, tokens=90))
    assert late.generated == expected(question("Hi.", seed=None))
