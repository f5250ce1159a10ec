"""Hostile constraints: each ends in an answer or a refusal, and other requests are not affected."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial

import psutil
import pytest
import pytest_asyncio

from silkline.core import Constraint, ConstraintKind, Sampling
from silkline.engines.base import Engine, EngineOptions
from silkline.engines.registry import create_engine
from silkline.errors import DeadlineExceeded, InvalidRequest, SilklineError
from silkline.models.resolve import bundled_folder
from tests.engines.asking import answer, question
from tests.engines.hostile import HOSTILE

BOUNDED = 60.0
QUICK = ("nested quantifiers", "1,000 different properties", "ten thousand groups")
EVERY = [pytest.param(name, marks=() if name in QUICK else (pytest.mark.full,)) for name in HOSTILE]


class Hostile:
    """The tests for an engine."""

    NAME: str

    @pytest_asyncio.fixture(scope="class", loop_scope="class")
    @classmethod
    async def engine(cls) -> AsyncIterator[Engine]:
        memory = 64 * 1024 * 1024
        engine = create_engine(
            cls.NAME,
            EngineOptions(
                model=None if cls.NAME == "fake" else bundled_folder(), kv_cache_bytes=memory
            ),
        )
        await engine.start()
        yield engine
        await engine.aclose()

    @pytest.mark.parametrize("name", EVERY)
    async def test_it_is_answered_or_refused_and_others_are_answered(
        self, engine: Engine, name: str
    ) -> None:
        alone = await answer(engine, question())
        hostile = asyncio.create_task(attempt(engine, HOSTILE[name]))
        assert (await answer(engine, question(timeout_seconds=BOUNDED))).text == alone.text
        assert await hostile in ("answered", "refused", "late")
        assert (await answer(engine, question(timeout_seconds=BOUNDED))).text == alone.text

    @pytest.mark.full
    @pytest.mark.timeout(3600)
    async def test_ten_thousand_schemas_take_bounded_memory(self, engine: Engine) -> None:
        def schema(number: int) -> Constraint:
            properties = {f"{key}{number}": {"type": "boolean"} for key in "abc"}
            return Constraint(
                ConstraintKind.JSON_SCHEMA,
                json.dumps({"type": "object", "properties": properties, "required": ["a1"]}),
            )

        for number in range(1000):
            await attempt(engine, schema(number))
        before = psutil.Process().memory_info().rss
        for number in range(1000, 10_000):
            assert (number, await attempt(engine, schema(number))) == (number, "answered")
        assert psutil.Process().memory_info().rss - before < 384 * 1024 * 1024


async def attempt(engine: Engine, constraint: Constraint) -> str:
    """Asks for eight tokens and returns how that ended."""
    sampling = Sampling(max_tokens=8, constraint=constraint)
    try:
        await answer(engine, question(seed=None, sampling=sampling, timeout_seconds=BOUNDED))
    except InvalidRequest as error:
        return "refused" if error.param in ("response_format", "structured_outputs") else "wrong"
    except DeadlineExceeded:
        return "late"
    except SilklineError:
        return "failed"
    return "answered"


@pytest.mark.asyncio(loop_scope="class")
class TestFake(Hostile):
    NAME = "fake"


@pytest.mark.asyncio(loop_scope="class")
class TestTorch(Hostile):
    NAME = "torch"


@pytest.mark.asyncio(loop_scope="class")
class TestOpenVino(Hostile):
    NAME = "openvino"

    async def test_what_takes_too_long_to_compile_is_refused(self, engine: Engine) -> None:
        sampling = Sampling(constraint=HOSTILE["1,000 different properties"])
        with pytest.raises((InvalidRequest, DeadlineExceeded), match=r"too complex|compiled"):
            await answer(engine, question(sampling=sampling, timeout_seconds=BOUNDED))

    @pytest.mark.full
    async def test_answers_stay_the_same_when_grammars_are_freed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pytest.importorskip("openvino_genai")
        from silkline.engines.openvino.grammar_compiler import (  # noqa: PLC0415 - an extra
            GrammarMemory,
        )

        colours = Constraint(ConstraintKind.REGEX, "(red|blue|green)( and (red|blue|green)){9}")
        counts = [Constraint(ConstraintKind.REGEX, f"{n}[0-9]{{3}}") for n in range(4)]
        monkeypatch.setattr(
            "silkline.engines.openvino.stepper.GrammarMemory", partial(GrammarMemory, max_bytes=0)
        )
        engine = create_engine(
            "openvino", EngineOptions(model=bundled_folder(), kv_cache_bytes=64 * 1024 * 1024)
        )
        await engine.start()
        try:
            long = asyncio.create_task(
                answer(engine, question(sampling=Sampling(99, constraint=colours)))
            )
            for number, constraint in enumerate(counts * 2):
                found = await answer(engine, question(sampling=Sampling(9, constraint=constraint)))
                assert found.text.startswith(str(number % 4))
                assert len(found.text) == 4
            assert len((await long).text.split(" and ")) == 10
        finally:
            await engine.aclose()
