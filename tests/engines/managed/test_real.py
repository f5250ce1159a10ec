"""The managed engines over the real servers, where the environment says where they are.

    SILKLINE_TEST_VLLM=/venv/bin/vllm  pytest -m full tests/engines/managed
    SILKLINE_TEST_LLAMA_SERVER=/path/llama-server SILKLINE_TEST_GGUF=FOLDER  pytest -m full ...

vLLM serves the bundled model; llama.cpp any folder that holds a model and its projector.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from silkline.core import Feature
from silkline.engines.base import Engine, EngineOptions
from silkline.engines.registry import create_engine
from silkline.errors import ConfigError, WorkerLost
from silkline.models.resolve import bundled_folder
from tests.engines.asking import answer, question
from tests.engines.conformance import Conformance

pytestmark = [pytest.mark.full, pytest.mark.timeout(900)]


def wanted(variable: str, what: str) -> str:
    """What a variable names; skips the test, and says what is missing, where it names nothing."""
    value = os.environ.get(variable, "")
    if not value:
        pytest.skip(f"{variable} does not name {what}")
    return value


def children() -> set[psutil.Process]:
    """All processes that come from this one."""
    return set(psutil.Process().children(recursive=True))


def vllm_options(**extra: str) -> EngineOptions:
    command = wanted("SILKLINE_TEST_VLLM", "the command that starts vLLM")
    return EngineOptions(model=bundled_folder(), threads=1, extra={"command": command, **extra})


def llama_options(**extra: str) -> EngineOptions:
    command = wanted("SILKLINE_TEST_LLAMA_SERVER", "the command that starts llama-server")
    folder = Path(wanted("SILKLINE_TEST_GGUF", "a folder with a model and its mmproj as GGUF"))
    return EngineOptions(model=folder, threads=1, extra={"command": command, **extra})


@asynccontextmanager
async def started(name: str, options: EngineOptions) -> AsyncIterator[Engine]:
    engine = create_engine(name, options)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.aclose()


@pytest.mark.asyncio(loop_scope="class")
class TestVllm(Conformance):
    @pytest_asyncio.fixture(scope="class", loop_scope="class")
    @classmethod
    async def engine(cls) -> AsyncIterator[Engine]:
        async with started("vllm", vllm_options()) as engine:
            yield engine


@pytest.mark.asyncio(loop_scope="class")
class TestLlamaCpp(Conformance):
    LACKS = frozenset({Feature.MIN_TOKENS, Feature.STOP_TOKEN_IDS, Feature.INCLUDE_STOP})

    @pytest_asyncio.fixture(scope="class", loop_scope="class")
    @classmethod
    async def engine(cls) -> AsyncIterator[Engine]:
        async with started("llamacpp", llama_options()) as engine:
            yield engine


async def test_a_flag_that_vllm_does_not_know_is_the_settings_fault() -> None:
    engine = create_engine("vllm", vllm_options(flags="--no-such-flag"))
    with pytest.raises(ConfigError, match="no-such-flag"):
        await engine.start()


async def test_a_flag_that_llama_server_does_not_know_is_the_settings_fault() -> None:
    engine = create_engine("llamacpp", llama_options(flags="--no-such-flag"))
    with pytest.raises(ConfigError, match="no-such-flag"):
        await engine.start()


async def test_killing_vllms_front_leaves_nothing_behind() -> None:
    """Its engine's processes would go on, had they not been adopted."""
    before = children()
    async with started("vllm", vllm_options()) as engine:
        assert (await answer(engine, question())).text
        family = children() - before
        assert len(family) > 3
        front = next(each for each in family if "serve" in each.cmdline() and
                     "silkline.engines.managed.guard" not in each.cmdline())  # fmt: skip
        front.kill()
        await asyncio.wait_for(engine.failed(), 20)
        assert not children() - before
        with pytest.raises(WorkerLost):
            await answer(engine, question())


async def test_llama_server_ends_with_its_engine() -> None:
    before = children()
    async with started("llamacpp", llama_options()) as engine:
        assert (await answer(engine, question())).text
        assert len(children() - before) == 2
    assert not children() - before
