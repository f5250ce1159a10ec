"""The engine's contract on the generic path, and what its batches do."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import torch

from silkline.core import Sampling
from silkline.engines.base import Engine, EngineOptions
from silkline.engines.torch.engine import TorchEngine
from silkline.engines.torch.generic import batch as batching
from silkline.engines.torch.generic.batch import Limits, StaticBatch
from silkline.errors import InvalidRequest, Overloaded, WorkerLost
from tests.engines.asking import answer, eventually, question
from tests.engines.conformance import Conformance
from tests.engines.torch.generic.architectures import ARCHITECTURES, save_architecture


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = next(each for each in ARCHITECTURES if each.id == "idefics2")
    folder = save_architecture(made, tmp_path_factory.mktemp("generic") / made.id)
    # Special tokens have no text, and the contract compares the text of tokens.
    settings = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))
    end = settings["eos_token_id"]
    settings["suppress_tokens"] = [end - 1, *range(end + 1, end + 4)]
    (folder / "generation_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


def options(folder: Path, **fields: Any) -> EngineOptions:
    own = {"device": "cpu", "dtype": "float32"}
    return EngineOptions(model=folder, max_batch=6, threads=1, extra=own, **fields)


@pytest.mark.full
@pytest.mark.asyncio(loop_scope="class")
class TestGeneric(Conformance):
    ANSWERS_WITH_TEXT = False

    @pytest_asyncio.fixture(scope="class", loop_scope="class")
    @classmethod
    async def engine(cls, folder: Path) -> AsyncIterator[Engine]:
        engine = TorchEngine(options(folder))
        await engine.start()
        yield engine
        await engine.aclose()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(folder: Path) -> AsyncIterator[TorchEngine]:
    engine = TorchEngine(options(folder))
    await engine.start()
    yield engine
    await engine.aclose()


def sizes_of(engine: TorchEngine, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of rows of each call of `generate` from now on."""
    model: Any = engine.family
    rows, generate = [], model.generate

    def counted(**inputs: Any) -> Any:
        rows.append(len(inputs["input_ids"]))
        return generate(**inputs)

    monkeypatch.setattr(model, "generate", counted)
    return rows


@pytest.mark.asyncio(loop_scope="module")
async def test_requests_of_one_shape_share_a_batch_whatever_their_sampling(
    engine: TorchEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampled = Sampling(max_tokens=5, temperature=1.0, seed=3, top_k=9, repetition_penalty=1.3)
    asked = [
        question(seed=1),
        question(seed=2, sampling=sampled),
        question(seed=3, sampling=Sampling(max_tokens=12, presence_penalty=1.5)),
        question("Another length.", seed=4),
    ]
    alone = [await answer(engine, each) for each in asked]
    rows = sizes_of(engine, monkeypatch)
    monkeypatch.setattr(batching, "_FILL_SECONDS", 1.0)
    together = await asyncio.gather(*(answer(engine, each) for each in asked))
    assert sorted(rows) == [1, 3]
    assert [(each.text, each.usage) for each in together] == [
        (each.text, each.usage) for each in alone
    ]


@pytest.mark.asyncio(loop_scope="module")
async def test_tokens_are_streamed_and_a_batch_ends_with_its_last_reader(
    engine: TorchEngine,
) -> None:
    long = question(sampling=Sampling(max_tokens=400, ignore_eos=True))
    async with aclosing(engine.generate(long)) as one, aclosing(engine.generate(long)) as other:
        first = await asyncio.gather(anext(one), anext(other))
        assert [delta.finish_reason for delta in first] == [None, None]
        assert engine.health().cache_use > 0
    await eventually(lambda: engine.health().running == 0)
    assert (await answer(engine, question())).text


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("error", "kind"),
    [(ValueError("no"), InvalidRequest), (torch.OutOfMemoryError(), Overloaded)],
)
async def test_a_request_that_the_model_cannot_process_fails_alone(
    engine: TorchEngine,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    kind: type[Exception],
) -> None:
    model: Any = engine.family
    generate, whole = model.generate, (await answer(engine, question(seed=1))).text

    def picky(**inputs: Any) -> Any:
        bad = inputs["pixel_values"].flatten(1).amax(1) <= 0
        if bad.any():
            raise error
        return generate(**inputs)

    monkeypatch.setattr(model, "generate", picky)
    plain = question(seed=1)
    (image,) = plain.images
    blank = replace(image, pixels=bytes(len(image.pixels)), digest="blank")
    good = asyncio.create_task(answer(engine, plain))
    with pytest.raises(kind):
        await answer(engine, replace(plain, images=(blank,)))
    assert (await good).text == whole


async def test_when_the_device_fails_the_engine_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = TorchEngine(options(folder))
    await engine.start()

    def fail(**inputs: Any) -> Any:
        raise torch.AcceleratorError

    monkeypatch.setattr(engine.family, "generate", fail)
    with pytest.raises(WorkerLost):
        await answer(engine, question())
    await engine.failed()
    await engine.aclose()


async def test_closing_ends_a_batch_that_runs(folder: Path) -> None:
    engine = TorchEngine(options(folder))
    await engine.start()
    stream = engine.generate(question(sampling=Sampling(max_tokens=400, ignore_eos=True)))
    await anext(stream)
    batch = engine._opened().loaded.batch
    await engine.aclose()
    assert isinstance(batch, StaticBatch)
    assert batch._generation is None
    await stream.aclose()


async def test_memory_bounds_the_batch_and_the_context(folder: Path) -> None:
    engine = TorchEngine(options(folder, kv_cache_bytes=40_000))
    await engine.start()
    batch = engine._opened().loaded.batch
    assert isinstance(batch, StaticBatch)
    limits = batch.limits
    assert limits.token_bytes == 2 * 2 * 2 * 12 * 4  # keys and values of two layers
    with pytest.raises(InvalidRequest, match=f"together may have {limits.max_tokens}"):
        await answer(engine, question("word " * 40))
    await engine.aclose()


@pytest.mark.parametrize(
    ("rows", "prompt", "answer_tokens", "fits"),
    [
        (1, 10**6, 10**6, True),
        (2, 50, 50, True),
        (2, 50, 51, False),
        (3, 10, 10, True),
        (4, 1, 1, False),
    ],
)
def test_limits(rows: int, prompt: int, answer_tokens: int, fits: bool) -> None:
    limits = Limits(rows=3, budget=2000, token_bytes=10)
    assert limits.fits(rows, prompt, answer_tokens) is fits


def test_a_first_step_is_bounded_where_nothing_is_kept() -> None:
    limits = Limits(rows=16, budget=1, token_bytes=0)
    assert limits.fits(2, 4096, 10**6)
    assert not limits.fits(3, 4096, 1)
