"""Two thousand constrained answers of each engine, sixteen at a time: all have their form."""

from __future__ import annotations

import asyncio

import pytest

from silkline.core import FinishReason, Sampling
from silkline.engines.base import EngineOptions
from silkline.engines.registry import create_engine
from silkline.models.resolve import bundled_folder
from tests.engines.asking import answer, question
from tests.engines.structured import CASES, UNBOUNDED

_ANSWERS = 2000

pytestmark = pytest.mark.full


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["fake", "openvino", "torch"])
async def test_all_answers_have_their_form(name: str) -> None:
    engine = create_engine(name, EngineOptions(model=bundled_folder()))
    await engine.start()
    slots = asyncio.Semaphore(16)
    cut = 0

    async def ask(number: int) -> None:
        nonlocal cut
        case = CASES[number % len(CASES)]
        sampling = Sampling(120, 0.7 * (number % 3), seed=number, constraint=case.constraint)
        async with slots:
            said = await answer(engine, question(f"What is {number}?", None, sampling=sampling))
        if said.finish_reason is FinishReason.STOP:
            assert case.conforms(said.text), (case.name, said.text)
        else:
            assert case in UNBOUNDED, (case.name, said.text)
            cut += 1

    try:
        async with asyncio.TaskGroup() as group:
            for number in range(_ANSWERS):
                group.create_task(ask(number))
    finally:
        await engine.aclose()
    assert cut < _ANSWERS / 3
