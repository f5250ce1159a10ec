"""Constrained answers of the torch engine, with the bundled model."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import torch

from silkline.engines.base import Engine, EngineOptions
from silkline.engines.torch import create_engine
from silkline.engines.torch.constraint import constrained
from silkline.models.resolve import bundled_folder
from tests.engines.conformance_structured import StructuredConformance

OPTIONS = EngineOptions(
    model=bundled_folder(), threads=1, extra={"device": "cpu", "dtype": "float32"}
)


@pytest.mark.asyncio(loop_scope="class")
class TestBundled(StructuredConformance):
    @pytest_asyncio.fixture(scope="class", loop_scope="class")
    @classmethod
    async def engine(cls) -> AsyncIterator[Engine]:
        engine = create_engine(OPTIONS)
        await engine.start()
        yield engine
        await engine.aclose()


def test_rows_without_a_constraint_are_not_touched() -> None:
    logits = torch.randn(3, 40)
    assert constrained(logits, [None, None, None]) is logits
