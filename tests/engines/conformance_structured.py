"""What engines must do that constrain their answers; part of `conformance`."""

from __future__ import annotations

import asyncio

import pytest

from silkline.core import Feature, FinishReason, Sampling
from silkline.engines.base import Engine
from silkline.errors import InvalidRequest
from tests.engines.asking import answer, eventually, question
from tests.engines.structured import BOUNDED, CASES, REFUSED, UNBOUNDED

LOCAL = {"fake", "openvino", "torch"}
"""The engines that name the stop string, tokenize prompts and take raw ones."""


def idle(engine: Engine) -> bool:
    health = engine.health()
    return health.running == health.queued == 0


class StructuredConformance:
    """The tests; an engine that declares a kind of constraint must pass those of that kind."""

    @pytest.mark.parametrize("temperature", [0.0, 1.5])
    async def test_answers_have_the_form_that_was_asked_for(
        self, engine: Engine, temperature: float
    ) -> None:
        cases = [
            case for case in CASES if Feature(case.constraint.kind.value) in engine.info.features
        ]
        asked = (
            question(sampling=Sampling(200, temperature, seed=1, constraint=case.constraint))
            for case in cases
        )
        said = await asyncio.gather(*(answer(engine, each) for each in asked))
        for case, each in zip(cases, said, strict=True):
            if each.finish_reason is FinishReason.STOP:
                assert case.conforms(each.text), (case.name, each.text)
            else:
                assert case in UNBOUNDED, (case.name, each.text)
                assert each.usage.completion_tokens == 200

    async def test_a_constrained_answer_is_cut_by_max_tokens(self, engine: Engine) -> None:
        if Feature.JSON_SCHEMA not in engine.info.features:
            pytest.skip("the engine has no JSON Schema")
        case = next(case for case in BOUNDED if case.name == "an object")
        sampling = Sampling(max_tokens=3, constraint=case.constraint)
        said = await answer(engine, question(sampling=sampling))
        assert said.finish_reason is FinishReason.LENGTH
        assert said.usage.completion_tokens == 3
        assert said.text.startswith("{")

    async def test_a_stop_string_cuts_a_constrained_answer(self, engine: Engine) -> None:
        if Feature.JSON_SCHEMA not in engine.info.features:
            pytest.skip("the engine has no JSON Schema")
        case = next(case for case in BOUNDED if case.name == "an object")
        whole = await answer(engine, question(sampling=Sampling(99, constraint=case.constraint)))
        sampling = Sampling(99, stop=('"count"',), constraint=case.constraint)
        cut = await answer(engine, question(sampling=sampling))
        assert cut.text == whole.text.partition('"count"')[0]
        assert cut.finish_reason is FinishReason.STOP

    async def test_constrained_answers_leave_others_as_they_were(self, engine: Engine) -> None:
        if Feature.JSON_SCHEMA not in engine.info.features:
            pytest.skip("the engine has no JSON Schema")
        plain = [question(f"What is picture {n}?", seed=n) for n in range(8)]
        formed = [
            question(seed=n, sampling=Sampling(48, constraint=case.constraint))
            for n, case in enumerate(BOUNDED[:8])
        ]
        alone = [(await answer(engine, each)).text for each in plain + formed]
        mixed = [each for pair in zip(plain, formed, strict=True) for each in pair]
        together = await asyncio.gather(*(answer(engine, each) for each in mixed))
        texts = [each.text for each in together]
        assert texts[::2] + texts[1::2] == alone

    async def test_a_form_that_cannot_be_enforced_is_refused_alone(self, engine: Engine) -> None:
        good = asyncio.create_task(answer(engine, question()))
        local = engine.info.engine in LOCAL
        for refused in REFUSED:
            if Feature(refused.constraint.kind.value) in engine.info.features:
                # Another server's own words never reach a client.
                message = refused.message if local else "refuses|too deeply|no choice"
                with pytest.raises(InvalidRequest, match=message):
                    await answer(engine, question(sampling=Sampling(constraint=refused.constraint)))
        assert (await good).text
        await eventually(lambda: idle(engine))
