"""The OpenVINO engine with the bundled model, in this process and in a worker."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from silkline.engines.base import Engine, EngineOptions
from silkline.engines.registry import create_engine
from silkline.engines.worker.supervisor import WorkerSupervisor
from silkline.models.resolve import bundled_folder
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
