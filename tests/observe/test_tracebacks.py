"""Case 26: no stack trace shows what a client sent, however an exception came to hold it."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import logging
from collections.abc import Iterator

import pytest

from silkline.engines.worker.logs import LineFormatter
from silkline.errors import EnvironmentFault
from silkline.observe.logs import EcsFormatter, TextFormatter
from silkline.observe.tracebacks import PrivateFormatter, trace

CANARY = "canary-9d2c"
FORMATTERS = (EcsFormatter, TextFormatter, LineFormatter)


def parse(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise KeyError(text) from error


def caught(text: str) -> BaseException:
    try:
        try:
            parse(text)
        except KeyError as error:
            later = OSError(2, text, text)
            raise ExceptionGroup(text, [error, later, ValueError(text)]) from error
    except ExceptionGroup as group:
        return group
    raise AssertionError


@pytest.fixture(params=FORMATTERS)
def log(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    formatter: PrivateFormatter = request.param()
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.addHandler(handler)
    yield written
    root.removeHandler(handler)


def test_a_trace_names_kinds_and_places_alone() -> None:
    text = trace(caught(CANARY))
    assert CANARY not in text
    for told in ("ValueError", "KeyError", "ExceptionGroup", "No such file", "in parse", "int("):
        assert told in text, told
    assert text.index("ValueError") < text.rindex("ExceptionGroup"), "the cause comes first"


def test_own_words_are_told() -> None:
    assert "Run: silkline doctor" in trace(EnvironmentFault("Gone.", remedy="silkline doctor"))


def test_a_circle_of_causes_ends() -> None:
    first, second = ValueError(), KeyError()
    first.__cause__, second.__cause__ = second, first
    assert trace(first).count("ValueError") == 1


def test_a_logged_exception_keeps_its_text_to_itself(log: io.StringIO) -> None:
    logging.getLogger("x").error("defect", exc_info=caught(CANARY))
    assert "defect" in log.getvalue()
    assert "in parse" in log.getvalue()
    assert CANARY not in log.getvalue()


def test_a_task_that_nobody_awaits_keeps_its_text_to_itself(log: io.StringIO) -> None:
    async def fail() -> None:
        raise ValueError(CANARY)

    async def forget() -> None:
        task = asyncio.ensure_future(fail())
        await asyncio.sleep(0.01)
        del task
        gc.collect()

    asyncio.run(forget())
    assert "never retrieved" in log.getvalue()
    assert CANARY not in log.getvalue()


def test_a_trace_is_one_line_of_json() -> None:
    record = logging.makeLogRecord(
        {"msg": "x", "exc_info": (ValueError, caught("\u2028\x1b"), None)}
    )
    line = EcsFormatter().format(record)
    assert len(line.splitlines()) == 1
    assert "in parse" in json.loads(line)["error.stack_trace"]
