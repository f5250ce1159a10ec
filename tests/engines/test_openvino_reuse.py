"""Reuse in the OpenVINO engine: what is saved, for whom, and that no answer depends on it."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from silkline.core import Answer, Request, Sampling
from tests.engines.asking import answer, eventually, picture, request, user
from tests.engines.test_openvino import OPTIONS, similar

genai = pytest.importorskip("openvino_genai")
ov = pytest.importorskip("openvino")
create_engine = pytest.importorskip("silkline.engines.openvino").create_engine
tag = pytest.importorskip("silkline.engines.openvino.tags").tag

BLOCK_TOKENS = 32


WORDS = ["Describe this product.", "What colour is it?", "How many are there?", "Is there a mug?"]


@asynccontextmanager
async def started(**extra: str) -> AsyncIterator[Any]:
    engine = create_engine(replace(OPTIONS, extra=extra))
    await engine.start()
    try:
        yield engine
    finally:
        await engine.aclose()


def about(image: int, text: str = WORDS[0], **fields: Any) -> Request:
    sampling = Sampling(max_tokens=24, logprobs=0)
    return replace(request(user(0, text), images=(picture(image),), sampling=sampling), **fields)


def cached(given: Answer) -> int:
    return given.usage.cached_tokens


async def test_what_is_known_of_an_image_is_computed_once_for_each_scope() -> None:
    async with started(kv_precision="f32") as engine:
        vision, encoded = engine.embedder._vision, list[int]()

        def counted(inputs: list[NDArray[np.float32]]) -> Any:
            encoded.append(len(inputs[0]))
            return vision(inputs)

        engine.embedder._vision = counted
        first = await answer(engine, about(1))
        second = await answer(engine, about(1, WORDS[1]))
        assert (cached(first), cached(second)) == (0, 2 * BLOCK_TOKENS)
        assert encoded == [1]
        again = await answer(engine, about(1))
        assert (again.text, again.logprobs) == (first.text, first.logprobs)
        for scope, expected in (
            (b"tenant", 0),
            (b"tenant", 2 * BLOCK_TOKENS),
            (None, 0),
            (None, 0),
        ):
            given = await answer(engine, about(1, reuse_scope=scope))
            assert (given.text, cached(given)) == (first.text, expected)
        assert encoded == [1, 1, 1, 1]
        both = request(user(0, "and", 1, WORDS[0]), images=(picture(1), picture(2)))
        assert [cached(await answer(engine, both)) for _ in range(2)] == [64, 128]
        assert encoded == [1, 1, 1, 1, 1]


async def test_reuse_can_be_switched_off() -> None:
    async with started(reuse="false") as engine:
        assert [cached(await answer(engine, about(1))) for _ in range(2)] == [0, 0]


@pytest.mark.parametrize(
    ("count", "kibibytes"),
    [
        pytest.param(60, 64 * 1024, marks=pytest.mark.slow),
        pytest.param(1000, 64 * 1024, marks=pytest.mark.full),
        pytest.param(1000, 512, marks=pytest.mark.full),
    ],
)
@pytest.mark.timeout(3600)
async def test_no_answer_is_changed_by_reuse(count: int, kibibytes: int) -> None:
    """Many at once, about few images and some that are nearly the same; some are cancelled."""
    dice = random.Random(count)
    images = [picture(number) for number in range(6)]
    images += [similar(image, kind) for image in images[:3] for kind in range(3)]
    asked = [
        replace(
            request(user(0, dice.choice(WORDS)), images=(dice.choice(images),)),
            reuse_scope=dice.choice([b"", b"", b"tenant", None]),
        )
        for _ in range(count)
    ]
    options = replace(OPTIONS, kv_cache_bytes=kibibytes * 1024)
    texts: list[list[str]] = []
    reused = 0
    for reuse in ("false", "true"):
        engine = create_engine(replace(options, extra={"reuse": reuse}))
        await engine.start()
        gate = asyncio.Semaphore(12)

        async def one(each: Request, engine: Any = engine, gate: Any = gate) -> Answer:
            async with gate:
                return await answer(engine, each)

        async def gone(each: Request, seconds: float, engine: Any = engine) -> None:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(answer(engine, each), seconds)

        try:
            cancelled = [gone(each, 0.001 * (index % 30)) for index, each in enumerate(asked[::7])]
            answers, _ = await asyncio.gather(
                asyncio.gather(*map(one, asked)),
                asyncio.gather(*cancelled, return_exceptions=True),
            )
        finally:
            await engine.aclose()
        texts.append([each.text for each in answers])
        reused = sum(cached(each) > 0 for each in answers)
    assert texts[0] == texts[1]
    if kibibytes > 1024:
        assert reused > count / 4


def pipeline(blocks: int = 200, step: int = 2048) -> Any:
    scheduler = genai.SchedulerConfig()
    scheduler.num_kv_blocks, scheduler.max_num_batched_tokens = blocks, step
    scheduler.enable_prefix_caching = True
    weights = Path(str(OPTIONS.model)) / "openvino"
    return genai.ContinuousBatchingPipeline(
        weights, scheduler, "CPU", {"KV_CACHE_PRECISION": "f32"}
    )


def drawn(seed: int, tokens: int = 96) -> np.ndarray[Any, np.dtype[np.float32]]:
    width = 192
    return np.random.default_rng(seed).normal(size=(1, tokens, width)).astype(np.float32)


def add(made: Any, number: int, embeddings: Any) -> Any:
    config = genai.GenerationConfig()
    config.max_new_tokens, config.logprobs, config.ignore_eos = 8, 1, True
    config.set_eos_token_id(made.get_config().eos_token_id)
    return made.add_request(number, ov.Tensor(embeddings), config)


def finished(made: Any, handle: Any) -> list[float]:
    logprobs: list[float] = []
    while made.has_non_finished_requests():
        made.step()
        while handle.can_read():
            logprobs += next(iter(handle.read().values())).generated_log_probs
    return logprobs


def unlike(embeddings: Any) -> Any:
    """Another prompt, with the numbers that the pipeline's hash takes of the first blocks."""
    other = drawn(99)
    other[0, :64, ::50] = embeddings[0, :64, ::50]
    other[0, 64:] = embeddings[0, 64:]
    return other


@pytest.mark.slow
async def test_what_the_pipeline_takes_for_equal_is_told_apart_by_tags() -> None:
    """The reason for tags: two prompts whose sampled numbers agree share a block, wrongly."""
    await asyncio.to_thread(_told_apart)


def _told_apart() -> None:
    one, other = drawn(1), unlike(drawn(1))
    truth = finished(alone := pipeline(), add(alone, 1, other))
    made = pipeline()
    finished(made, add(made, 1, one))
    wrong = finished(made, add(made, 2, other))
    assert not np.allclose(wrong, truth, atol=1e-3), "the pipeline's hash is better than it was"
    tagged = [drawn(1), unlike(drawn(1))]
    for number, embeddings in enumerate(tagged):
        tag(embeddings, [b"%d" % number, b"%d+" % number], b"%d" % number)
    made = pipeline()
    finished(made, add(made, 1, tagged[0]))
    assert np.allclose(finished(made, add(made, 2, tagged[1])), truth, atol=1e-3)


@pytest.mark.slow
async def test_the_pipeline_keeps_blocks_of_a_cut_and_cancelled_prompt_as_if_whole() -> None:
    """The reason why the ledger lets no prompt be cut."""
    await asyncio.to_thread(_cut_and_cancelled)


def _cut_and_cancelled() -> None:
    truth = finished(alone := pipeline(), add(alone, 1, drawn(1)))
    made = pipeline(step=40)
    gone = add(made, 1, drawn(1))
    made.step()
    gone.cancel()
    made.step()
    wrong = finished(made, add(made, 2, drawn(1)))
    assert not np.allclose(wrong, truth, atol=1e-3), "the pipeline forgets what is not whole"


async def test_a_request_that_is_cancelled_at_any_step_leaves_nothing_wrong() -> None:
    async with started(kv_precision="f32") as engine:
        expected = await answer(engine, about(1, reuse_scope=None))
        for index in range(12):
            scope = bytes([index])
            stream = engine.generate(about(1, reuse_scope=scope))
            task = asyncio.ensure_future(anext(stream))
            await asyncio.sleep(0.002 * index)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await stream.aclose()
            await eventually(lambda: engine.health().running == 0)
            again = await answer(engine, about(1, reuse_scope=scope))
            assert again.text == expected.text
            for mine, theirs in zip(again.logprobs, expected.logprobs, strict=True):
                assert mine.logprob == pytest.approx(theirs.logprob, abs=1e-4)
