"""Real worker processes: started, killed, stopped, hung and orphaned."""

import asyncio
import logging
import os
import signal
import stat
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from silkline.engines.base import EngineOptions
from silkline.engines.worker.__main__ import NICENESS
from silkline.engines.worker.client import WorkerEngine
from silkline.engines.worker.process import WorkerProcess
from silkline.engines.worker.status import WorkerState
from silkline.engines.worker.supervisor import WorkerSupervisor
from silkline.errors import ConfigError, EnvironmentFault, WorkerLost
from tests.engines.asking import answer, eventually, question
from tests.engines.worker.plugs import plug_in
from tests.processes import WORKER, children, waits_given_up


def supervisor(
    *, hang_timeout: float = 30.0, start_timeout: float = 60.0, **extra: str
) -> WorkerSupervisor:
    return WorkerSupervisor(
        "fake",
        EngineOptions(extra=extra),
        hang_timeout=hang_timeout,
        start_timeout=start_timeout,
        health_interval=0.05,
    )


@asynccontextmanager
async def running(
    hang_timeout: float = 30.0, **extra: str
) -> AsyncGenerator[WorkerSupervisor, None]:
    worker = supervisor(hang_timeout=hang_timeout, start_timeout=60.0, **extra)
    await worker.start()
    try:
        yield worker
    finally:
        await worker.aclose()


def serves(worker: WorkerSupervisor) -> bool:
    return worker.ready


def contents(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def pid_of(worker: WorkerSupervisor) -> int:
    assert worker.pid is not None
    return worker.pid


async def ask(worker: WorkerSupervisor, text: str = "What is this?") -> str:
    assert worker.engine is not None
    return (await answer(worker.engine, question(text))).text


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where workers put their folders."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.slow
async def test_watching_a_worker_leaves_nothing_behind() -> None:
    async with running() as worker:
        before = waits_given_up()
        for _ in range(20):
            await worker.changed()
        assert waits_given_up() <= before + 3


async def test_a_worker_serves_from_a_process_of_its_own(folders: Path) -> None:
    worker = supervisor()
    await worker.start()
    assert worker.state is WorkerState.SERVING
    assert serves(worker)
    assert worker.info is not None
    assert worker.info.engine == "fake"
    assert worker.rss_bytes is not None
    assert worker.rss_bytes > 10_000_000
    assert await ask(worker)
    pid = pid_of(worker)
    assert pid in {child.pid for child in children(WORKER)}
    (folder,) = contents(folders)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    await worker.aclose()
    await worker.aclose()
    assert not serves(worker)
    assert worker.engine is None
    assert worker.pid is None
    assert not psutil.pid_exists(pid)
    assert not contents(folders)


async def test_a_worker_stands_back_when_cores_are_scarce() -> None:
    async with running() as worker:
        assert psutil.Process(pid_of(worker)).nice() == min(19, psutil.Process().nice() + NICENESS)


async def test_a_killed_worker_is_replaced() -> None:
    async with running() as worker:
        before, pid = await ask(worker), pid_of(worker)
        os.kill(pid, signal.SIGKILL)
        await eventually(lambda: worker.restarts == 1 and worker.ready)
        assert worker.pid != pid
        assert await ask(worker) == before


async def test_a_worker_that_dies_again_and_again_is_replaced_with_pauses() -> None:
    async with running() as worker:
        for times in range(1, 4):
            os.kill(pid_of(worker), signal.SIGKILL)
            await eventually(lambda times=times: worker.restarts == times and worker.ready)  # type: ignore[misc]


@pytest.mark.slow
async def test_a_stopped_worker_is_not_ready_and_is_replaced() -> None:
    async with running(hang_timeout=1.5) as worker:
        pid = pid_of(worker)
        os.kill(pid, signal.SIGSTOP)
        await eventually(lambda: not worker.ready)
        await eventually(lambda: worker.restarts == 1 and worker.ready)
        assert not psutil.pid_exists(pid)


async def test_a_hung_engine_is_replaced() -> None:
    async with running(hang_timeout=0.5, hang_on_text="<hang>") as worker:
        with pytest.raises(WorkerLost):
            await ask(worker, "<hang>")
        await eventually(lambda: worker.restarts == 1 and worker.ready)


async def test_an_engine_that_has_failed_is_replaced_at_once() -> None:
    async with running(break_on_text="<break>") as worker:
        pid = pid_of(worker)
        with pytest.raises(WorkerLost):
            await ask(worker, "<break>")
        await eventually(lambda: not psutil.pid_exists(pid))
        await eventually(lambda: worker.restarts == 1 and worker.ready)
        assert await ask(worker)


async def test_a_worker_ended_by_a_signal_without_a_name_is_replaced() -> None:
    async with running() as worker:
        os.kill(pid_of(worker), 40)
        await eventually(lambda: worker.restarts == 1 and worker.ready)


GARBAGE = """
import sys
from silkline.engines import base, fake
from silkline.engines.worker import __main__ as worker, wire

wire.encode_health = lambda health: b"garbage"

def create_engine(options):
    return fake.create_engine(options)
"""


async def test_a_worker_whose_health_makes_no_sense_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plug_in(tmp_path, monkeypatch, GARBAGE)
    worker = WorkerSupervisor("plug", EngineOptions(), hang_timeout=0.5, health_interval=0.05)
    await worker.start()
    try:
        await eventually(lambda: worker.restarts >= 2)
    finally:
        await worker.aclose()


@pytest.mark.parametrize("line", ["b'garbage'", "b'x' * 100_000", "b'\\xff'"])
async def test_a_worker_whose_report_makes_no_sense_is_lost(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folders: Path
) -> None:
    source = f"""
from silkline.engines.worker import wire
import os

def create_engine(options):
    for number in range(3, 32):
        try:
            if os.readlink(f"/proc/self/fd/{{number}}").startswith("pipe:"):
                os.write(number, {line} + b"\\n")
        except OSError:
            pass
    raise SystemExit(1)
"""
    plug_in(tmp_path, monkeypatch, source)
    with pytest.raises(WorkerLost):
        await WorkerSupervisor("plug", EngineOptions(), start_timeout=20).start()
    assert not children(WORKER)
    assert not [path for path in contents(folders) if path.name.startswith("silkline-")]


async def test_what_the_supervisor_did_not_expect_does_not_end_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with running() as worker:
        with monkeypatch.context() as patch:

            async def fail(*_: object) -> None:
                raise OSError("no more descriptors")

            patch.setattr(WorkerEngine, "probe", fail)
            patch.setattr(WorkerProcess, "spawn", fail)
            await eventually(lambda: worker.restarts >= 2)
        await eventually(lambda: worker.ready)
        assert await ask(worker)
    assert "no more descriptors" in caplog.text


async def test_a_short_hang_timeout_does_not_make_a_good_worker_flap() -> None:
    worker = WorkerSupervisor("fake", EngineOptions(), hang_timeout=0.01, health_interval=0.2)
    await worker.start()
    try:
        for _ in range(100):
            assert worker.ready
            await asyncio.sleep(0.01)
        assert worker.restarts == 0
    finally:
        await worker.aclose()


async def test_a_slow_engine_is_left_alone() -> None:
    async with running(hang_timeout=0.6, token_seconds="0.05", answer_words="20") as worker:
        assert await ask(worker)
        assert worker.restarts == 0


async def test_a_worker_that_lost_a_request_is_replaced() -> None:
    async with running() as worker:
        assert worker.engine is not None
        worker.mark_failed(worker.engine)
        assert not worker.ready
        await eventually(lambda: worker.restarts == 1 and worker.ready)


@pytest.mark.parametrize(
    ("engine", "extra", "error", "message"),
    [
        ("fake", {"start_fault": "No such device."}, EnvironmentFault, "No such device."),
        ("fake", {"moode": "echo"}, ConfigError, "Valid options: mode"),
        ("fak", {}, ConfigError, "Did you mean fake"),
    ],
)
async def test_what_keeps_a_worker_from_starting_is_told(
    engine: str, extra: dict[str, str], error: type[Exception], message: str, folders: Path
) -> None:
    worker = WorkerSupervisor(engine, EngineOptions(extra=extra))
    with pytest.raises(error, match=message):
        await worker.start()
    assert worker.pid is None
    assert not children(WORKER)
    assert not contents(folders)


async def test_a_worker_that_takes_too_long_to_start_is_ended() -> None:
    worker = supervisor(start_timeout=0.5, start_seconds="60")
    with pytest.raises(WorkerLost, match=r"within 0\.5 seconds"):
        await worker.start()
    assert not children(WORKER)


async def test_a_worker_that_dies_at_its_start_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    with pytest.raises(WorkerLost, match="exit code 1 before it was ready"):
        await supervisor().start()


async def test_a_cancelled_start_leaves_nothing_behind(folders: Path) -> None:
    worker = supervisor(start_seconds="60")
    starting = asyncio.create_task(worker.start())
    await eventually(lambda: worker.pid is not None)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not children(WORKER)
    assert not contents(folders)


async def test_a_worker_that_ignores_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("silkline.engines.worker.supervisor.TERM_GRACE_SECONDS", 0.3)
    async with running() as worker:
        pid = pid_of(worker)
        os.kill(pid, signal.SIGSTOP)
    assert not psutil.pid_exists(pid)


async def test_closing_leaves_no_task_behind() -> None:
    tasks = len(asyncio.all_tasks())
    async with running() as worker:
        os.kill(pid_of(worker), signal.SIGKILL)
        await eventually(lambda: worker.restarts == 1 and worker.ready)
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == tasks


async def test_the_imports_are_light(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    caplog.set_level(logging.INFO, logger="silkline.worker")
    async with running() as worker:
        assert await ask(worker)
    lines = [record.getMessage() for record in caplog.records]
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in lines if "|" in line}
    assert {"asyncio", "msgspec", "silkline"} <= imported
    heavy = {"fastapi", "starlette", "uvicorn", "aiohttp", "PIL", "pydantic", "numpy", "openvino"}
    assert not heavy & imported


PARENT = """
import asyncio, sys
from silkline.engines.base import EngineOptions
from silkline.engines.worker.supervisor import WorkerSupervisor

async def main():
    worker = WorkerSupervisor("fake", EngineOptions())
    await worker.start()
    print(worker.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_no_worker_outlives_its_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # the killed parent leaves its folder there
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    assert psutil.pid_exists(pid)
    parent.kill()
    await parent.wait()
    await eventually(lambda: not psutil.pid_exists(pid))
