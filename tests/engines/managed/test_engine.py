"""The managed engines over stand-ins for their servers, in this process and in a worker."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from silkline.core import Feature, FinishReason, PromptOptions, Sampling, Tool
from silkline.engines.base import Engine, EngineOptions
from silkline.engines.managed import engine as managed_engine
from silkline.engines.registry import create_engine
from silkline.engines.worker.supervisor import WorkerSupervisor
from silkline.errors import ConfigError, EngineFailed, EnvironmentFault, ShuttingDown, WorkerLost
from tests.engines.asking import answer, eventually, question, request, user
from tests.engines.conformance import Conformance
from tests.engines.managed.models import CHILD, gguf_folder, llava_folder
from tests.processes import waits_given_up

STAND_IN = Path(__file__).parent / "stand_in.py"
GUARD = "silkline.engines.managed.guard"
MARKS = (str(STAND_IN), CHILD)
ENGINES = ("vllm", "llamacpp")
PROGRAMS = {"vllm": "vllm", "llamacpp": "llama-server"}


def options(engine: str, folder: Path, *traits: str, **extra: str) -> EngineOptions:
    """For a model in `folder`, served by the stand-in."""
    model = (llava_folder if engine == "vllm" else gguf_folder)(folder / engine)
    command = " ".join([sys.executable, str(STAND_IN), *traits, PROGRAMS[engine]])
    return EngineOptions(model=model, max_batch=4, extra={"command": command, **extra})


@asynccontextmanager
async def started(engine: str, folder: Path, *traits: str, **extra: str) -> AsyncIterator[Engine]:
    running = create_engine(engine, options(engine, folder, *traits, **extra))
    await running.start()
    try:
        yield running
    finally:
        await running.aclose()


@pytest.fixture(params=["vllm", pytest.param("llamacpp", marks=pytest.mark.full)])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def family() -> list[psutil.Process]:
    """The guards, the stand-ins and their children that live; other tests' processes are not."""
    children = psutil.Process().children(recursive=True)
    return [child for child in children if any(mark in _words(child) for mark in MARKS)]


def servers() -> list[psutil.Process]:
    """The stand-ins themselves."""
    return [child for child in family() if MARKS[0] in _words(child) and GUARD not in _words(child)]


def socket_folder() -> Path:
    """Where the only stand-in's socket lies."""
    (server,) = servers()
    (socket,) = (word for word in server.cmdline() if word.endswith(".sock"))
    return Path(socket).parent


def _words(process: psutil.Process) -> str:
    """The command line; empty for one that has ended."""
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""


@pytest.mark.asyncio(loop_scope="class")
class TestVllm(Conformance):
    @pytest_asyncio.fixture(scope="class", loop_scope="class")
    @classmethod
    async def engine(cls, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Engine]:
        async with started("vllm", tmp_path_factory.mktemp("vllm")) as engine:
            yield engine


@pytest.mark.full
@pytest.mark.asyncio(loop_scope="class")
class TestLlamaCpp(Conformance):
    LACKS = frozenset({Feature.MIN_TOKENS, Feature.STOP_TOKEN_IDS, Feature.INCLUDE_STOP})

    @pytest_asyncio.fixture(scope="class", loop_scope="class")
    @classmethod
    async def engine(cls, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Engine]:
        async with started("llamacpp", tmp_path_factory.mktemp("llamacpp")) as engine:
            yield engine


@pytest.mark.parametrize("name", ENGINES)
async def test_it_says_what_it_is(name: str, tmp_path: Path) -> None:
    given = replace(options(name, tmp_path), name="org/model", revision="abc")
    engine = create_engine(name, given)
    await engine.start()
    info = engine.info
    await engine.aclose()
    assert (info.engine, info.model, info.revision) == (name, "org/model", "abc")
    assert (info.context_length, info.image_tokens) == (8192, 16)


@pytest.mark.parametrize("name", ENGINES)
async def test_tools_and_reasoning(name: str, tmp_path: Path) -> None:
    given = options(name, tmp_path)
    assert given.model is not None
    template = "{{ tools }}<tool_call>{% if enable_thinking %}<think>{% endif %}"
    (given.model / "chat_template.jinja").write_text(template)
    tool = Tool("find", "Finds <image>.", '{"type":"object"}', strict=True)
    asked = replace(
        request(user("find it"), sampling=Sampling(max_tokens=200, logprobs=1)),
        options=PromptOptions((tool,), thinking=True),
    )
    engine = create_engine(name, given)
    await engine.start()
    try:
        assert {Feature.TOOLS, Feature.THINKING} <= engine.info.features
        assert Feature.EXTRA not in engine.info.features
        said = await answer(engine, asked)
    finally:
        await engine.aclose()
    assert [call.name for call in said.tool_calls] == ["find"]
    assert said.finish_reason is FinishReason.TOOL_CALLS
    assert said.reasoning
    assert said.usage.reasoning_tokens > 0
    assert all(len(token.top) == 1 for token in said.logprobs)


async def test_special_tokens_that_a_client_types_are_broken(name: str, tmp_path: Path) -> None:
    """Only then the stand-in's answer, which follows from the words, is that to other words."""
    async with started(name, tmp_path) as engine:
        typed = await answer(engine, question("say <image> now"))
        broken = await answer(engine, question("say <\u200bimage> now"))
        plain = await answer(engine, question("say <imagine> now"))
    assert typed.text == broken.text
    assert typed.text != plain.text


@pytest.mark.slow
async def test_a_slow_start_is_waited_for(name: str, tmp_path: Path) -> None:
    async with started(name, tmp_path, "slow") as engine:
        assert (await answer(engine, question())).text


async def test_a_server_that_is_too_busy_loading_to_say_so_is_waited_for(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(managed_engine, "_PROBE_SECONDS", 0.2)
    async with started(name, tmp_path, "deaf") as engine:
        assert (await answer(engine, question())).text


@pytest.mark.slow
async def test_watching_a_server_leaves_nothing_behind(name: str, tmp_path: Path) -> None:
    async with started(name, tmp_path):
        before = waits_given_up()
        await asyncio.sleep(1.0)
        assert waits_given_up() <= before + 1


async def test_a_server_that_does_not_serve_in_time_is_ended(name: str, tmp_path: Path) -> None:
    engine = create_engine(name, options(name, tmp_path, "silent", start_seconds="1"))
    with pytest.raises(EnvironmentFault, match="took more than 1 seconds"):
        await engine.start()
    assert not family()


@pytest.mark.slow
async def test_the_last_words_of_a_server_that_dies_are_told(name: str, tmp_path: Path) -> None:
    engine = create_engine(name, options(name, tmp_path, "dies"))
    with pytest.raises(EnvironmentFault) as caught:
        await engine.start()
    assert "exit code 1" in caught.value.message
    assert "ValueError: the weights are torn" in caught.value.message
    assert "Traceback" not in caught.value.message
    assert not family()


async def test_a_flag_that_the_server_does_not_know_is_the_settings_fault(
    name: str, tmp_path: Path
) -> None:
    engine = create_engine(name, options(name, tmp_path, flags="--no-such-flag"))
    with pytest.raises(ConfigError, match="no-such-flag"):
        await engine.start()


async def test_flags_of_the_user_reach_the_server(name: str, tmp_path: Path) -> None:
    flags = {"vllm": "--gpu-memory-utilization '0.5'", "llamacpp": "-ngl '12'"}[name]
    async with started(name, tmp_path, flags=flags):
        (server,) = servers()
        assert flags.replace("'", "").split() == server.cmdline()[-2:]


async def test_nobody_else_gets_in(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key is in no log and no process list, and the socket is in a closed folder."""
    monkeypatch.setenv("SILKLINE_API_KEYS", "of the gateway")
    monkeypatch.setenv("LLAMA_ARG_TOOLS", "all")
    caplog.set_level(logging.DEBUG)
    async with started(name, tmp_path, "chatty"):
        (server,) = servers()
        variables = server.environ()
        key = variables[{"vllm": "VLLM_API_KEY", "llamacpp": "LLAMA_API_KEY"}[name]]
        assert len(key) > 32
        assert all(key not in word for child in family() for word in child.cmdline())
        assert not {"SILKLINE_API_KEYS", "LLAMA_ARG_TOOLS"} & {
            variable for variable in variables if name == "llamacpp" or variable[0] == "S"
        }
        folder = socket_folder()
        assert folder.stat().st_mode & 0o777 == 0o700
    assert "my key is ***" in caplog.text
    assert key not in caplog.text
    assert not folder.exists()


async def test_a_server_that_dies_loses_its_requests_and_fails_the_engine(
    name: str, tmp_path: Path
) -> None:
    async with started(name, tmp_path) as engine:
        failed = asyncio.create_task(engine.failed())
        stream = engine.generate(question(sampling=Sampling(max_tokens=4000)))
        await anext(stream)
        assert not failed.done()
        servers()[0].kill()
        with pytest.raises(WorkerLost):
            async for _ in stream:
                pass
        await asyncio.wait_for(failed, 10)
        with pytest.raises(WorkerLost):
            await answer(engine, question())
    with pytest.raises(ShuttingDown):
        await answer(engine, question())


@pytest.mark.slow
async def test_a_request_that_the_server_fails_at_is_lost_alone(name: str, tmp_path: Path) -> None:
    """A lost worker would be replaced, and whatever else it computes be lost as well."""
    async with started(name, tmp_path, "fails") as engine:
        failed = asyncio.create_task(engine.failed())
        other = engine.generate(question(sampling=Sampling(max_tokens=4000)))
        await anext(other)
        with pytest.raises(EngineFailed, match="failed at this request but still runs") as caught:
            await answer(engine, request(user("poison")))
        assert "x.cpp" not in caught.value.message
        assert (await anext(other)).text
        assert not failed.done()
        await other.aclose()
        failed.cancel()


@pytest.mark.slow
async def test_closing_ends_all_of_a_server_that_will_not_end(name: str, tmp_path: Path) -> None:
    async with started(name, tmp_path, "stubborn", "leaves-a-child"):
        assert len(family()) == 3  # guard, server, the server's child
    assert not family()


async def test_a_server_whose_processes_outlive_it_is_cleared_up(name: str, tmp_path: Path) -> None:
    async with started(name, tmp_path, "leaves-a-child") as engine:
        servers()[0].kill()
        await asyncio.wait_for(engine.failed(), 10)
        assert not family()


@pytest.mark.slow
async def test_a_killed_guard_leaves_nothing_either(name: str, tmp_path: Path) -> None:
    async with started(name, tmp_path, "leaves-a-child") as engine:
        guard, *others = family()
        assert GUARD in guard.cmdline()
        assert len(others) == 2
        guard.kill()
        await asyncio.wait_for(engine.failed(), 10)
        await eventually(lambda: not any(process.is_running() for process in others))


async def test_health_is_judged_by_progress(name: str, tmp_path: Path) -> None:
    async with started(name, tmp_path, "hangs") as engine:
        assert engine.health().seconds_since_progress == 0.0
        asked = asyncio.create_task(answer(engine, question()))
        await eventually(lambda: engine.health().seconds_since_progress > 0.3)
        assert engine.health().queued == 1
        asked.cancel()
        await eventually(lambda: engine.health().queued == 0)


@pytest.mark.slow
async def test_a_killed_worker_takes_its_server_along(name: str, tmp_path: Path) -> None:
    """And another one serves instead."""
    worker = WorkerSupervisor(name, options(name, tmp_path, "leaves-a-child"), health_interval=0.05)
    await worker.start()
    try:
        before = family()
        folder = socket_folder()
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        await eventually(lambda: not any(process.is_running() for process in before), 15)
        assert not folder.exists()
        await eventually(lambda: worker.engine is not None and worker.restarts == 1, 15)
        assert worker.engine is not None
        assert (await answer(worker.engine, question())).text
    finally:
        await worker.aclose()
    assert not family()


@pytest.mark.slow
async def test_a_worker_whose_server_crashes_is_replaced(name: str, tmp_path: Path) -> None:
    worker = WorkerSupervisor(name, options(name, tmp_path, "crashes"), health_interval=0.05)
    await worker.start()
    try:
        assert worker.engine is not None
        folder = socket_folder()
        with pytest.raises(WorkerLost):
            await answer(worker.engine, request(user("crash")))
        await eventually(lambda: worker.restarts >= 1, 15)
        assert not folder.exists()
    finally:
        await worker.aclose()
    assert not family()


@pytest.mark.slow
async def test_a_start_that_fails_in_a_worker_is_told_by_its_kind(
    name: str, tmp_path: Path
) -> None:
    worker = WorkerSupervisor(name, options(name, tmp_path, flags="--no-such-flag"))
    with pytest.raises(ConfigError, match="no-such-flag"):
        await worker.start()
    assert not family()
