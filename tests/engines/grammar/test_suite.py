"""The cases of the JSON Schema Test Suite: answers match their schema, or it is refused by name.

`make test-full` downloads the suite into .cache/schemas.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import pytest_asyncio

from silkline.core import Answer, Constraint, ConstraintKind, FinishReason, Sampling
from silkline.engines.base import Engine, EngineOptions
from silkline.engines.grammar import grammar_of
from silkline.engines.registry import create_engine
from silkline.errors import DeadlineExceeded, InvalidRequest
from silkline.models.resolve import bundled_folder
from tests.engines.asking import answer, question

pytestmark = [pytest.mark.full, pytest.mark.timeout(3600)]

SUITE = Path(__file__).parents[3] / ".cache/schemas/json/tests"
VALIDATORS: dict[str, Callable[[Any], Any]] = {
    "draft7": jsonschema_rs.Draft7Validator,
    "draft2020-12": jsonschema_rs.Draft202012Validator,
}
ANSWERS = 2000


def cases(draft: str) -> list[tuple[str, Any]]:
    """The schemas of a draft, with the names of their cases."""
    return [
        (f"{draft}/{path.stem}: {case['description']}", case["schema"])
        for path in sorted((SUITE / draft).glob("*.json"))
        for case in json.loads(path.read_bytes())
    ]


def record(line: str) -> None:
    """Prints a line of the report."""
    print(line)  # noqa: T201 - for `pytest -s`


def constraint(schema: Any) -> Constraint:
    return Constraint(ConstraintKind.JSON_SCHEMA, json.dumps(schema))


def refusal(schema: Any) -> str | None:
    """Why a schema is refused; None if it is not."""
    try:
        grammar_of(constraint(schema))
    except InvalidRequest as error:
        return str(error)
    return None


ACCEPTED = [
    (name, schema, validator(schema))
    for draft, validator in VALIDATORS.items()
    for name, schema in cases(draft)
    if refusal(schema) is None
]


@pytest.mark.parametrize("draft", VALIDATORS)
def test_what_is_refused_is_refused_by_name(draft: str) -> None:
    found = Counter(
        "accepted" if refusal(schema) is None else "refused" for _, schema in cases(draft)
    )
    record(f"{draft}: {found['accepted']} schemas accepted, {found['refused']} refused")
    assert found["accepted"] > 100
    for name, schema in cases(draft):
        reason = refusal(schema)
        assert reason is None or re.search(r"`.+`|at \w+|root|allows no value", reason), name


class Suite:
    """The tests for an engine."""

    NAME: str

    @pytest_asyncio.fixture(scope="class", loop_scope="class")
    @classmethod
    async def engine(cls) -> AsyncIterator[Engine]:
        model = None if cls.NAME == "fake" else bundled_folder()
        engine = create_engine(cls.NAME, EngineOptions(model=model, kv_cache_bytes=1 << 26))
        await engine.start()
        yield engine
        await engine.aclose()

    async def test_no_answer_violates_its_schema(self, engine: Engine) -> None:
        room = asyncio.Semaphore(16)

        async def ask(index: int) -> Answer:
            sampling = Sampling(
                200, 1.0, seed=index, constraint=constraint(ACCEPTED[index % len(ACCEPTED)][1])
            )
            asked = question(seed=None, sampling=sampling, timeout_seconds=600, stream=False)
            async with room:
                while True:  # on a busy machine the constraints of 16 requests may be late
                    with suppress(DeadlineExceeded):
                        return await answer(engine, asked)

        answers: list[Answer] = []
        whole = 0
        while whole < ANSWERS:
            more = range(len(answers), len(answers) + 500)
            answers += await asyncio.gather(*map(ask, more))
            whole = sum(each.finish_reason is FinishReason.STOP for each in answers)
        wrong = []
        for index, each in enumerate(answers):
            name, _, validator = ACCEPTED[index % len(ACCEPTED)]
            if each.finish_reason is FinishReason.STOP:
                try:
                    valid = validator.is_valid(json.loads(each.text))
                except ValueError:
                    valid = False
                if not valid:
                    wrong.append((name, each.text))
        cut = len(answers) - whole
        record(
            f"{self.NAME}: {whole} answers to {len(ACCEPTED)} schemas, {len(wrong)} wrong, "
            f"{cut} cut by max_tokens"
        )
        assert wrong == []


@pytest.mark.asyncio(loop_scope="class")
class TestFake(Suite):
    NAME = "fake"


@pytest.mark.asyncio(loop_scope="class")
class TestTorch(Suite):
    NAME = "torch"


@pytest.mark.asyncio(loop_scope="class")
class TestOpenVino(Suite):
    NAME = "openvino"
