"""Kept prefixes: they save work, change no answer, and are shared within a scope only."""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from silkline.core import Delta, Request, Sampling
from silkline.engines.torch.job import Job
from silkline.engines.torch.prefixes import BLOCK, Prefixes
from silkline.engines.torch.slots import KvSlots, LayerShape
from tests.engines.asking import picture, request, user
from tests.engines.torch import driving
from tests.engines.torch.tiny import INSTALLED, TINY, save

BRIEF = Sampling(max_tokens=12)
PLAIN = {"llava", "llava_next", "qwen2_5_vl", "gemma3"}
"""Families of the quick run: one image token a patch, tiles, three axes of positions, and images
whose tokens attend both ways."""

families = pytest.mark.parametrize(
    "family",
    [
        pytest.param(tiny.id, marks=() if tiny.id in PLAIN else pytest.mark.full)
        for tiny in INSTALLED
    ],
)


def about(image: int, text: str = "What is this?", **fields: Any) -> Request:
    asked = request(user(0, text), images=(picture(image),), sampling=BRIEF)
    return replace(asked, **fields)


def ended(driver: driving.Driver, job: Job) -> Delta:
    event = driver.ended[job]
    assert isinstance(event, Delta)
    return event


def cached(driver: driving.Driver, job: Job) -> int:
    usage = ended(driver, job).usage
    assert usage is not None
    return usage.cached_tokens


def one_by_one(model: Any, requests: Sequence[Request]) -> tuple[list[list[int]], list[int]]:
    """The answers' tokens, and the cached tokens."""
    driver = driving.Driver(model)
    jobs = []
    for each in requests:
        jobs.append(driver.add(each))
        driver.run()
    return [job.generated for job in jobs], [cached(driver, job) for job in jobs]


def folder_of(family: str, tmp_path: Path) -> Path:
    return save(next(each for each in TINY if each.id == family), tmp_path / "model")


@families
def test_a_second_question_about_an_image_costs_only_what_is_new(
    family: str, tmp_path: Path
) -> None:
    folder = folder_of(family, tmp_path)
    long = "Tell me what you can see here and there. "
    requests = [about(1, long + "Why?"), about(1, long + "Where?"), about(2, long + "Why?")]
    requests.append(requests[0])
    if family != "blip-2":  # it takes one image
        requests += [
            request(user(0, long, 1, text), images=(picture(one), picture(other)), sampling=BRIEF)
            for text, one, other in (("What else?", 1, 2), ("What now?", 2, 1), ("What?", 1, 2))
        ]
    expected, none = one_by_one(driving.loaded(folder, reuse=False), requests)
    answers, reused = one_by_one(driving.loaded(folder), requests)
    assert answers == expected
    assert not any(none)
    model = driving.loaded(folder)
    lengths = [
        len(driving.job(model.family, each, model.max_tokens).prompt.ids) for each in requests
    ]
    assert reused[0] == 0
    assert all(tokens % BLOCK == 0 and tokens < length
               for tokens, length in zip(reused, lengths, strict=True))  # fmt: skip
    if model.batch._slots.state_bytes or family.startswith("paligemma"):
        assert not any(reused), "a recurrent state, or a whole prompt that attends both ways"
    else:
        assert all(reused[number] > BLOCK for number in (1, 3, 6) if number < len(requests))


def test_a_second_turn_reuses_the_first_ones_answer(llava: Path) -> None:
    model = driving.loaded(llava)
    driver = driving.Driver(model)
    first = driver.add(about(1, sampling=Sampling(max_tokens=40)))
    driver.run()
    prompt = first.prompt
    # The next prompt as tokens, as a tokenizer need not give an answer's own tokens again.
    answer = torch.tensor([*first.generated, 5, 6, 7])
    ids = torch.cat((prompt.ids, answer))
    second = driving.job(model.family, about(1), model.max_tokens)
    second.prompt = replace(
        prompt, ids=ids, positions=torch.arange(len(ids))[None], next_position=len(ids)
    )
    alone = driving.loaded(llava, reuse=False)
    answers = []
    for each, keys in ((model, True), (alone, False)):
        again = driving.Driver(each)
        job = driving.job(each.family, about(1), each.max_tokens)
        content = replace(second.prompt, keys=driving.keys_of(each.family, second.prompt))
        job.prompt = content if keys else second.prompt
        job.rewind()
        again.waiting.append(job)
        again.run()
        answers.append(job.generated)
        if keys:
            assert cached(again, job) >= len(prompt.ids) + 40 - 2 * BLOCK
    assert answers[0] == answers[1]


def test_scopes_share_neither_prefixes_nor_features(llava: Path, monkeypatch: Any) -> None:
    model = driving.loaded(llava, feature_cache_bytes=1 << 20)
    encoded: list[int] = []
    encode = model.family.encode

    def counted(images: Any) -> Any:
        encoded.append(len(images))
        return encode(images)

    monkeypatch.setattr(model.family, "encode", counted)
    scopes = [b"one", b"two", b"one", None, None, b"two"]
    answers, reused = one_by_one(model, [about(1, reuse_scope=scope) for scope in scopes])
    assert [bool(tokens) for tokens in reused] == [False, False, True, False, False, True]
    assert encoded == [1, 1, 1, 1], "once for each scope, and each time without one"
    assert len({tuple(tokens) for tokens in answers}) == 1
    together = driving.Driver(model)
    for scope in (b"three", b"four", b"three"):
        together.add(about(1, reuse_scope=scope))
    together.run()
    assert encoded[4:] == [2], "in one batch, too, each scope has its own"


def test_a_request_without_a_scope_leaves_nothing_behind(llava: Path) -> None:
    model = driving.loaded(llava, feature_cache_bytes=1 << 20)
    driver = driving.Driver(model)
    driver.add(about(1, reuse_scope=None))
    driver.run()
    assert model.batch._prefixes is not None
    assert model.batch._prefixes.held_bytes == 0
    assert model.batch._vision._cache.held_bytes == 0


@pytest.mark.parametrize("steps", [1, 2, 3, 6, 9])
def test_a_cancelled_request_leaves_only_what_is_whole(llava: Path, steps: int) -> None:
    expected = driving.alone(driving.loaded(llava, reuse=False), about(1))
    model = driving.loaded(llava, prefill_chunk=7)
    driver = driving.Driver(model)
    gone = driver.add(about(1))
    for _ in range(steps):
        driver.step()
    driver.cancel(gone)
    again = driver.add(about(1))
    driver.run()
    assert again.generated == expected
    assert bool(cached(driver, again)) == bool(gone.generated)


def mixed(number: int) -> Request:
    """Few images, many questions, some scopes."""
    dice = random.Random(number)
    shown = tuple(picture(dice.randrange(3)) for _ in range(dice.randrange(3)))
    text = "What is this? " * dice.randrange(1, 4) + dice.choice(["", "Now", "Here"])
    asked = request(user(*range(len(shown)), text), images=shown,
                    sampling=Sampling(max_tokens=dice.randrange(1, 30)))  # fmt: skip
    return replace(asked, reuse_scope=dice.choice([b"", b"", b"tenant", None]))


@pytest.mark.parametrize(
    ("count", "budgets"),
    [
        pytest.param(30, [250, 800], marks=pytest.mark.slow),
        pytest.param(1000, [800, 100_000], marks=pytest.mark.full),
    ],
)
@pytest.mark.timeout(3600)
def test_reuse_changes_no_answer_whatever_is_evicted_and_cancelled(
    llava: Path, count: int, budgets: list[int]
) -> None:
    alone = driving.loaded(llava, reuse=False)
    known: dict[Any, list[int]] = {}

    def expected(asked: Request) -> list[int]:
        key = (asked.messages, tuple(image.digest for image in asked.images), asked.sampling)
        if key not in known:
            known[key] = driving.alone(alone, asked)
        return known[key]

    for budget in budgets:
        dice = random.Random(budget)
        model = driving.loaded(
            llava, kv_cache_bytes=budget * alone.batch._slots.token_bytes, prefill_chunk=23
        )
        driver = driving.Driver(model)
        jobs = []
        for number in range(count):
            asked = mixed(number)
            jobs.append((asked, driver.add(asked)))
            for _ in range(dice.randrange(8)):
                driver.step()
            if dice.random() < 0.2:
                driver.cancel(jobs[dice.randrange(len(jobs))][1])
        driver.steps = 0
        driver.run()
        done = [(asked, job) for asked, job in jobs if job in driver.ended]
        assert len(done) > count / 2
        reused = sum(cached(driver, job) > 0 for _, job in done)
        assert reused > count / 10 or budget < 800
        for asked, job in done:
            assert job.generated == expected(asked)
        slots, prefixes = model.batch._slots, model.batch._prefixes
        assert prefixes is not None
        assert prefixes.held_bytes <= slots.room


LAYERS = {0: LayerShape(2, 3, 5), 1: LayerShape(1, 4, 4)}


def chain(numbers: Sequence[int]) -> tuple[bytes, ...]:
    return tuple(bytes(numbers[: count + 1]) for count in range(len(numbers)))


def fill(slots: KvSlots, numbers: Sequence[int]) -> None:
    """Fills slot 0 with blocks whose content is determined by all numbers so far."""
    for count, key in enumerate(chain(numbers)):
        value = float(int.from_bytes(key, "big") % 9973)
        for tensor in slots.tensors:
            tensor[0, :, count * BLOCK : (count + 1) * BLOCK] = value


@given(
    st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), max_size=25),
    st.integers(0, 14),
)
def test_what_is_restored_is_what_was_kept_within_the_budget(
    prompts: list[list[int]], spare: int
) -> None:
    length = 8 * BLOCK
    shapes = {"max_slots": 2, "dtype": torch.float32, "device": torch.device("cpu")}
    token = KvSlots(LAYERS, budget=1, **shapes).token_bytes  # type: ignore[arg-type]
    budget = (2 * length + spare * BLOCK) * token
    slots = KvSlots(LAYERS, budget=budget, **shapes)  # type: ignore[arg-type]
    slots.reserve(2, length)
    store = Prefixes(slots, 0)
    for numbers in prompts:
        keys = chain(numbers)
        fill(slots, numbers)
        known = store._found(keys)
        if known:
            store.restore(keys, known * BLOCK, 1)
            for mine, theirs in zip(slots.read(1, 0, known * BLOCK),
                                    slots.read(0, 0, known * BLOCK), strict=True):  # fmt: skip
                assert torch.equal(mine, theirs)
        store.keep(keys, 0)
        assert store.held_bytes <= slots.room
        assert store.held_bytes == sum(segment.bytes for segment in store._segments)
        assert all(segment in store._segments for segment, _ in store._blocks.values())
        if len(numbers) <= spare:
            assert store._found(keys) == len(keys), "the newest prompt is there"
    slots.reserve(2, length + 64)
    store.trim()
    assert store.held_bytes <= max(0, slots.room)


def test_the_least_recently_used_prefix_goes_first_and_its_end_before_its_start() -> None:
    slots = KvSlots(
        LAYERS, max_slots=1, budget=1 << 20, dtype=torch.float32, device=torch.device("cpu")
    )
    slots._budget = (8 * BLOCK + 4 * BLOCK) * slots.token_bytes
    slots.reserve(1, 8 * BLOCK)
    store = Prefixes(slots, 0)
    for numbers in ([1], [1, 2], [3], [1, 2, 4]):
        fill(slots, numbers)
        store.keep(chain(numbers), 0)
    fill(slots, [5])
    store.keep(chain([5]), 0)
    assert store._found(chain([3])) == 0
    assert store._found(chain([1, 2, 4])) == 3
    fill(slots, [6])
    store.keep(chain([6]), 0)
    assert store._found(chain([1, 2, 4])) == 2
