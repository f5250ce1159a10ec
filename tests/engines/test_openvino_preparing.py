"""What the OpenVINO engine makes of a request before the pipeline has it, beside the event loop."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

pytest.importorskip("openvino_genai")

from silkline.engines.base import EngineOptions
from silkline.engines.openvino.embedding import Embedder
from silkline.engines.openvino.engine import OpenVinoEngine
from silkline.errors import DeadlineExceeded
from silkline.models.resolve import bundled_folder
from tests.engines.asking import answer, eventually, question, same

OPTIONS = EngineOptions(model=bundled_folder(), kv_cache_bytes=64 * 1024 * 1024, threads=1)


@pytest_asyncio.fixture(scope="class", loop_scope="class")
async def engine() -> AsyncIterator[OpenVinoEngine]:
    """With the bundled model, read by the pipeline as other families are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Embedder, "supports", lambda _: False)
        engine = OpenVinoEngine(OPTIONS)
        await engine.start()
    assert engine.embedder is None
    yield engine
    await engine.aclose()


@pytest.mark.asyncio(loop_scope="class")
class TestPreparing:
    async def test_a_request_that_is_prepared_stalls_no_other(
        self, engine: OpenVinoEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        prepare, go_on, to_hold = engine.pipeline_inputs, threading.Event(), ["one"]

        def held(*asked: Any) -> Any:
            if to_hold:
                to_hold.pop()
                assert go_on.wait(10), "the event loop was not free"
            return prepare(*asked)

        monkeypatch.setattr(engine, "pipeline_inputs", held)
        slow = asyncio.create_task(answer(engine, question("Is this the slow one?")))
        await eventually(lambda: not to_hold)
        assert engine.health().queued == 1
        assert (await answer(engine, question())).text
        to_hold.append("another")
        with pytest.raises(DeadlineExceeded, match="before its prompt was prepared"):
            await answer(engine, question("And the late one?", timeout_seconds=0.5))
        go_on.set()
        assert (await slow).text
        await eventually(lambda: engine.health().queued == engine.health().running == 0)

    async def test_sixteen_at_once_equal_one_at_a_time(self, engine: OpenVinoEngine) -> None:
        """Of other lengths, too, so that a tokenizer which mixed two of them up would show."""
        asked = [
            question(f"What is picture {n}? " + "Look again. " * (n % 5), seed=n) for n in range(16)
        ]
        alone = [await answer(engine, each) for each in asked]
        together = await asyncio.gather(*(answer(engine, each) for each in asked))
        assert all(map(same, together, alone))
