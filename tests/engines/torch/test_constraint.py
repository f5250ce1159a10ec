"""Constrained answers of the torch engine, with the bundled model."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
import torch

from silkline.core import Constraint, ConstraintKind, FinishReason, Sampling
from silkline.engines.base import Engine, EngineOptions
from silkline.engines.torch import create_engine
from silkline.engines.torch.constraint import Matcher, constrained, stuck
from silkline.errors import InvalidRequest
from silkline.models.resolve import bundled_folder
from tests.engines.asking import answer, question
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

    @pytest.mark.parametrize(
        "fields", [{"min_tokens": 20}, {"ignore_eos": True}, {"min_tokens": 20, "ignore_eos": True}]
    )
    async def test_a_complete_form_ends_the_answer(
        self, engine: Engine, fields: dict[str, Any]
    ) -> None:
        form = Constraint(ConstraintKind.CHOICE, '["yes", "no"]')
        said = await answer(engine, question(sampling=Sampling(40, constraint=form, **fields)))
        assert said.text in {"yes", "no"}
        assert said.finish_reason is FinishReason.STOP

    @pytest.mark.parametrize("fields", [{"min_tokens": 12}, {"ignore_eos": True}])
    async def test_a_form_that_may_continue_does(
        self, engine: Engine, fields: dict[str, Any]
    ) -> None:
        form = Constraint(ConstraintKind.REGEX, "(ab){1,12}")
        said = await answer(engine, question(sampling=Sampling(40, constraint=form, **fields)))
        longest = await answer(engine, question(sampling=Sampling(40, constraint=form)))
        assert said.finish_reason is FinishReason.STOP
        assert len(said.text) >= len(longest.text)
        assert said.usage.completion_tokens >= 12


def test_an_answer_that_cannot_continue_is_the_request_s_fault() -> None:
    class Nothing:
        def compute_bitmask(self) -> bytes:
            return bytes(5)

    assert Matcher(Nothing()).stuck
    assert isinstance(stuck(ConstraintKind.GRAMMAR), InvalidRequest)


def test_rows_without_a_constraint_are_not_touched() -> None:
    logits, changed = torch.randn(2, 3, 40)
    assert constrained(logits, changed, [None, None, None]) is changed
