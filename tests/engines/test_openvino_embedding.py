"""Prompts that are embedded beside the pipeline."""

import asyncio
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

pytest.importorskip("openvino_genai")

from silkline.core import Health, Sampling, Stage
from silkline.engines.base import EngineOptions
from silkline.engines.openvino.embedding import Embedder, EmbeddingQueue, Embeddings, Prepared
from silkline.engines.openvino.engine import OpenVinoEngine
from silkline.engines.openvino.served import read_served
from silkline.errors import DeadlineExceeded, InternalFault, InvalidRequest, Overloaded
from silkline.models.resolve import bundled_folder
from tests.engines.asking import answer, eventually, picture, question, request, user

OPTIONS = EngineOptions(model=bundled_folder(), kv_cache_bytes=64 * 1024 * 1024, threads=1)
PROPERTIES: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(Embedder, read_served(OPTIONS), PROPERTIES).result()


def prompt(embedder: Embedder, *seeds: int) -> Prepared:
    """A prompt with a picture for each seed, the image token being 2."""
    ids = np.array([3, *(part for _ in seeds for part in (2, 9)), 5], np.int64)
    pictures = [picture(seed) for seed in seeds]
    return embedder.prepare(ids, pictures, [64] * len(seeds))


def test_each_picture_fills_its_own_places(embedder: Embedder) -> None:
    """Prompts of several pictures, and none, together: each as it is alone."""
    prompts = [prompt(embedder, *seeds) for seeds in ((1,), (), (2, 3, 4), (5, 6), (7,))]
    together = embedder.embed(prompts)
    for prepared, embeddings in zip(prompts, together, strict=True):
        assert embeddings.shape[:2] == (1, len(prepared.ids))
        (alone,) = embedder.embed([prepared])
        np.testing.assert_array_equal(embeddings, alone)
    (first,) = embedder.embed([prompt(embedder, 2)])
    np.testing.assert_array_equal(together[2][0, 1:65], first[0, 1:65])
    assert not np.array_equal(together[2][0, 1:65], together[2][0, 66:130])


def test_a_template_that_leaves_a_picture_out_is_told(embedder: Embedder) -> None:
    with pytest.raises(InvalidRequest, match="shows 0 of the 1 images"):
        embedder.prepare(np.array([3, 5], np.int64), [picture()], [64])


class Slow:
    """Stands in for the tower: answers when told to, and fails when told to."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.go_on = threading.Event()
        self.asked: list[int] = []
        self.fails: Exception | None = None

    def embed(self, prompts: Sequence[Prepared]) -> list[Embeddings]:
        self.asked.append(len(prompts))
        self.began.set()
        assert self.go_on.wait(30)
        if self.fails is not None:
            raise self.fails
        return [np.full((1, 1, 1), prepared.ids[0], np.float32) for prepared in prompts]


def numbered(number: int) -> Prepared:
    return Prepared(np.array([number], np.int64), (picture(number),))


async def test_those_who_wait_are_taken_together_and_get_their_own() -> None:
    slow = Slow()
    queue = EmbeddingQueue(slow)  # type: ignore[arg-type]
    tasks = [asyncio.create_task(queue.embed(numbered(number))) for number in range(7)]
    assert await asyncio.to_thread(slow.began.wait, 30)
    assert len(queue) >= 3
    tasks[5].cancel()
    slow.go_on.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    numbers = [
        None if isinstance(each, BaseException) else each.tensor.data.item() for each in answers
    ]
    assert numbers == [0, 1, 2, 3, 4, None, 6]
    assert slow.asked == [4, 2]
    await queue.aclose()


async def test_a_failure_does_not_last() -> None:
    slow = Slow()
    slow.fails = RuntimeError("a shape of a library's own")
    slow.go_on.set()
    queue = EmbeddingQueue(slow)  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest, match="cannot process these images"):
        await queue.embed(numbered(1))
    slow.fails = None
    assert (await queue.embed(numbered(2))).tensor.data.item() == 2
    await queue.aclose()


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[CPU] Tile node Check 'ptr' failed\nFailed to allocate 4000 bytes of memory"),
        RuntimeError("Exception from infer_request.cpp:224:\nstd::bad_alloc"),
    ],
)
async def test_too_little_memory_is_not_the_requests_fault(error: Exception) -> None:
    slow = Slow()
    slow.fails = error
    slow.go_on.set()
    queue = EmbeddingQueue(slow)  # type: ignore[arg-type]
    tasks = [asyncio.create_task(queue.embed(numbered(number))) for number in range(3)]
    for told in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(told, Overloaded)
        assert told.retry_after is not None
        assert "not enough memory" in told.message
        assert "allocate" not in told.message
    await queue.aclose()


async def test_whoever_waits_or_is_embedded_counts_until_it_has_gone() -> None:
    slow = Slow()
    queue = EmbeddingQueue(slow)  # type: ignore[arg-type]
    tasks = [asyncio.create_task(queue.embed(numbered(number))) for number in range(6)]
    assert await asyncio.to_thread(slow.began.wait, 30)
    assert len(queue) == 6
    for gone in (0, 5):  # one that is being embedded, and one that waits
        tasks[gone].cancel()
    await asyncio.wait([tasks[0], tasks[5]])
    assert len(queue) == 4
    slow.go_on.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert len(queue) == 0
    await queue.aclose()


@pytest.mark.parametrize("error", [TypeError("of a library's own"), IndexError("likewise")])
async def test_no_failure_of_the_tower_leaves_anybody_waiting(error: Exception) -> None:
    slow = Slow()
    slow.fails = error
    slow.go_on.set()
    queue = EmbeddingQueue(slow)  # type: ignore[arg-type]
    for _ in range(2):
        with pytest.raises(InvalidRequest, match="cannot process these images"):
            await asyncio.wait_for(queue.embed(numbered(1)), 10)
    await queue.aclose()


async def test_a_defect_is_told_and_does_not_last() -> None:
    slow = Slow()
    slow.fails = AttributeError("a defect")
    slow.go_on.set()
    queue = EmbeddingQueue(slow)  # type: ignore[arg-type]
    for _ in range(2):
        with pytest.raises(InternalFault, match="could not be embedded"):
            await asyncio.wait_for(queue.embed(numbered(1)), 10)
    slow.fails = None
    await asyncio.wait_for(queue.embed(numbered(1)), 10)
    await queue.aclose()


class Picky(Slow):
    """Fails at one of the prompts."""

    def embed(self, prompts: Sequence[Prepared]) -> list[Embeddings]:
        answers = super().embed(prompts)
        if any(prepared.ids[0] == 2 for prepared in prompts):
            raise RuntimeError("a picture that cannot be encoded")
        return answers


async def test_who_fails_takes_nobody_along() -> None:
    picky = Picky()
    picky.go_on.set()
    queue = EmbeddingQueue(picky)  # type: ignore[arg-type]
    tasks = [asyncio.create_task(queue.embed(numbered(number))) for number in range(6)]
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(answers.pop(2), InvalidRequest)
    numbers = [
        None if isinstance(each, BaseException) else each.tensor.data.item() for each in answers
    ]
    assert numbers == [0, 1, 3, 4, 5]
    assert picky.asked == [4, 1, 1, 1, 1, 2]
    await queue.aclose()


async def test_closing_ends_those_who_wait() -> None:
    slow = Slow()
    queue = EmbeddingQueue(slow)  # type: ignore[arg-type]
    tasks = [asyncio.create_task(queue.embed(numbered(number))) for number in range(9)]
    assert await asyncio.to_thread(slow.began.wait, 30)
    closing = asyncio.create_task(queue.aclose())
    slow.go_on.set()
    await closing
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(isinstance(each, InternalFault) for each in answers) == 5
    with pytest.raises(InternalFault):
        await queue.embed(numbered(1))


async def test_the_time_of_a_request_runs_while_it_waits_for_the_tower() -> None:
    engine = OpenVinoEngine(OPTIONS)
    await engine.start()
    try:
        with pytest.raises(DeadlineExceeded):
            async for _ in engine.generate(
                request(user(0, "What is this?"), images=(picture(),), timeout_seconds=0.0)
            ):
                pass
        ids = await engine.token_ids(question(sampling=Sampling(max_tokens=3, temperature=0.0)))
        assert len(ids) == 3
        await eventually(lambda: engine.health() == Health(0, 0, 0.0, cache_use=0.0))
    finally:
        await engine.aclose()


async def test_pictures_are_encoded_in_the_time_of_the_prefill(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not in that of the queue, which would look as if there were too few workers."""
    engine = OpenVinoEngine(OPTIONS)
    await engine.start()
    try:
        assert engine.embedder is not None
        embed = engine.embedder.embed

        def slowly(prompts: Sequence[Prepared]) -> list[Embeddings]:
            time.sleep(0.3)
            return embed(prompts)

        monkeypatch.setattr(engine.embedder, "embed", slowly)
        stages = (await answer(engine, question())).timeline.seconds
    finally:
        await engine.aclose()
    assert stages[Stage.PREFILL] >= 0.3 > stages[Stage.QUEUE] >= 0
