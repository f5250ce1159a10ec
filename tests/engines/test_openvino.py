"""The OpenVINO engine with the bundled model, in this process and in a worker."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from unittest.mock import ANY

import pytest
import pytest_asyncio

from silkline.core import Sampling
from silkline.engines.base import Engine, EngineOptions
from silkline.engines.registry import create_engine
from silkline.engines.worker.supervisor import WorkerSupervisor
from silkline.errors import InvalidRequest
from silkline.models.resolve import bundled_folder
from tests.engines.asking import answer, question
from tests.engines.conformance import Conformance

pytest.importorskip("openvino_genai")

OPTIONS = EngineOptions(model=bundled_folder(), kv_cache_bytes=64 * 1024 * 1024, threads=2)


@pytest.mark.asyncio(loop_scope="class")
class TestOpenVino(Conformance):
    @pytest_asyncio.fixture(scope="class", loop_scope="class")
    @classmethod
    async def engine(cls) -> AsyncIterator[Engine]:
        engine = create_engine("openvino", OPTIONS)
        await engine.start()
        yield engine
        await engine.aclose()


@pytest.mark.asyncio(loop_scope="class")
class TestOpenVinoInAWorker(Conformance):
    @pytest_asyncio.fixture(scope="class", loop_scope="class")
    @classmethod
    async def engine(cls) -> AsyncIterator[Engine]:
        worker = WorkerSupervisor("openvino", OPTIONS, health_interval=0.05)
        await worker.start()
        assert worker.engine is not None
        yield worker.engine
        await worker.aclose()


async def test_what_does_not_fit_the_cache_harms_nobody_else() -> None:
    engine = create_engine("openvino", replace(OPTIONS, kv_cache_bytes=1024 * 1024))
    await engine.start()
    try:
        beside = asyncio.create_task(answer(engine, question()))
        with pytest.raises(InvalidRequest, match="may have 800"):
            await answer(engine, question("word " * 290, seed=None))
        long = Sampling(max_tokens=4096)
        asked = question("Count. " * 100, seed=None, sampling=long, timeout_seconds=120)
        assert (await answer(engine, asked)).usage.completion_tokens > 0
        assert await beside == replace(await answer(engine, question()), timeline=ANY)
    finally:
        await engine.aclose()


async def test_a_sample_without_a_seed_is_another_one_each_time() -> None:
    engine = create_engine("openvino", OPTIONS)
    await engine.start()
    try:
        samples = {await _sample(engine, seed=None) for _ in range(6)}
        assert len(samples) > 1
        assert await _sample(engine, seed=-7) == await _sample(engine, seed=-7)
    finally:
        await engine.aclose()


async def _sample(engine: Engine, seed: int | None) -> str:
    sampling = Sampling(max_tokens=24, temperature=2.0, seed=seed)
    return (await answer(engine, question("Describe it.", sampling=sampling))).text
