"""The torch engine with a tiny LLaVA, in this process and in a worker."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import torch

from silkline.core import FinishReason, Sampling
from silkline.engines.base import Engine, EngineOptions
from silkline.engines.registry import create_engine
from silkline.engines.torch.engine import TorchEngine
from silkline.engines.worker.supervisor import WorkerSupervisor
from silkline.errors import ConfigError, DeadlineExceeded, InvalidRequest, WorkerLost
from tests.engines.asking import answer, eventually, question
from tests.engines.conformance import Conformance

KV_BYTES = 16 * 1024 * 1024


def options(folder: Path, **extra: str) -> EngineOptions:
    return EngineOptions(
        model=folder,
        max_batch=6,
        kv_cache_bytes=KV_BYTES,
        threads=1,
        extra={"device": "cpu"} | extra,
    )


@pytest.mark.asyncio(loop_scope="class")
class TestTorch(Conformance):
    ANSWERS_WITH_TEXT = False

    @pytest_asyncio.fixture(scope="class", loop_scope="class")
    @classmethod
    async def engine(cls, llava: Path) -> AsyncIterator[Engine]:
        engine = create_engine("torch", options(llava, prefill_chunk="24"))
        await engine.start()
        yield engine
        await engine.aclose()


@pytest.mark.asyncio(loop_scope="class")
@pytest.mark.slow
class TestTorchInAWorker(Conformance):
    ANSWERS_WITH_TEXT = False

    @pytest_asyncio.fixture(scope="class", loop_scope="class")
    @classmethod
    async def engine(cls, llava: Path) -> AsyncIterator[Engine]:
        worker = WorkerSupervisor("torch", options(llava), health_interval=0.05)
        await worker.start()
        assert worker.engine is not None
        yield worker.engine
        await worker.aclose()


@pytest_asyncio.fixture
async def engine(llava: Path) -> AsyncIterator[TorchEngine]:
    engine = TorchEngine(options(llava))
    await engine.start()
    yield engine
    await engine.aclose()


async def test_when_the_model_fails_its_requests_end_and_the_engine_says_so(
    engine: TorchEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers = [asyncio.create_task(answer(engine, question(seed=n))) for n in range(3)]

    def fail(hidden: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("the device is gone")

    monkeypatch.setattr(engine.family, "logits", fail)
    async with asyncio.timeout(10):
        for reader in readers:
            with pytest.raises(WorkerLost):
                await reader
        await engine.failed()
    with pytest.raises(WorkerLost):
        await answer(engine, question())
    assert engine.health().running == engine.health().queued == 0


async def test_what_the_cache_can_never_hold_is_refused_and_long_answers_are_cut(
    llava: Path,
) -> None:
    engine = TorchEngine(replace(options(llava), kv_cache_bytes=40_000))
    await engine.start()
    try:
        beside = asyncio.create_task(answer(engine, question(seed=None)))
        with pytest.raises(InvalidRequest, match="together may have 104"):
            await answer(engine, question("word " * 30))
        long = Sampling(max_tokens=4096)
        asked = question("Count.", seed=None, sampling=long)
        whole = await answer(engine, asked)
        assert whole.finish_reason is FinishReason.LENGTH
        assert whole.usage.total_tokens == 104
        assert (await beside).text
    finally:
        await engine.aclose()


async def test_a_sample_without_a_seed_is_another_one_each_time(engine: TorchEngine) -> None:
    free = Sampling(max_tokens=24, temperature=1.5)
    assert len({(await answer(engine, question(sampling=free))).text for _ in range(4)}) == 4
    seeded = replace(free, seed=-7)
    assert len({(await answer(engine, question(sampling=seeded))).text for _ in range(3)}) == 1


async def test_the_first_logits_are_those_that_the_answer_comes_from(engine: TorchEngine) -> None:
    said = await answer(engine, question(sampling=Sampling(max_tokens=1)))
    logits = await engine.first_logits(question())
    assert logits.dtype is torch.float32
    assert engine.family.decode([int(logits.argmax())]) == said.text


async def test_a_request_whose_time_ends_while_it_is_prepared_goes_alone(
    engine: TorchEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = engine.family.prepare

    def slow(*asked: Any) -> Any:
        time.sleep(0.3)
        return prepare(*asked)

    monkeypatch.setattr(engine.family, "prepare", slow)
    good = asyncio.create_task(answer(engine, question()))
    with pytest.raises(DeadlineExceeded):
        await answer(engine, question(timeout_seconds=0.05))
    assert (await good).text
    await eventually(lambda: engine.health().queued == engine.health().running == 0)


def test_options_and_folders_that_are_wrong_are_refused(llava: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Valid options: device"):
        TorchEngine(options(llava, prefix="true"))
    with pytest.raises(ConfigError, match="give its folder"):
        TorchEngine(EngineOptions())
    with pytest.raises(ConfigError):
        TorchEngine(options(llava, prefill_chunk="-1"))


async def test_the_name_comes_from_the_options_or_the_folder(llava: Path) -> None:
    engine = TorchEngine(replace(options(llava), name="mine", revision="abc"))
    await engine.start()
    try:
        assert (engine.info.model, engine.info.revision) == ("mine", "abc")
        assert engine.info.precision == "float32"
    finally:
        await engine.aclose()
