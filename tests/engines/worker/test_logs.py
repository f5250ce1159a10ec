"""What a worker logs reaches its parent's log, by its own level."""

import asyncio
import logging
from pathlib import Path

import pytest

from silkline.engines.base import EngineOptions
from silkline.engines.worker.supervisor import WorkerSupervisor
from silkline.errors import WorkerLost
from tests.engines.asking import answer, eventually, question
from tests.engines.worker.plugs import plug_in

TALKATIVE = """
import asyncio, logging, os
from silkline.engines.fake import create_engine as create_fake

def create_engine(options):
    os.write(1, b"a library that talks\\n" * 5_000)
    os.write(2, b'{"a": "json line"}\\n')
    logger = logging.getLogger("silkline.plug")
    logger.warning("take care of %s", "it", extra={"ecs": {"http.request.id": "r-1"}})
    logging.getLogger("foreign").info("two\\nlines")
    try:
        1 / 0
    except ZeroDivisionError:
        logger.exception("x" * 100_000)
    engine = create_fake(options)
    start, generate = engine.start, engine.generate
    async def start_once_read():
        while not os.path.exists("READ"):
            await asyncio.sleep(0.01)
        await start()
    def generate_with_words(request):
        os.write(2, b"late words\\n")
        return generate(request)
    engine.start, engine.generate = start_once_read, generate_with_words
    return engine
"""


@pytest.mark.slow
async def test_what_a_worker_logs_keeps_its_level_and_its_fields(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    read = tmp_path / "read"
    plug_in(tmp_path, monkeypatch, TALKATIVE.replace("READ", str(read)))
    caplog.set_level(logging.INFO)
    caplog.set_level(logging.INFO, "silkline")  # commands that ran here may have set another one
    worker = WorkerSupervisor("plug", EngineOptions(), start_timeout=60)
    starting = asyncio.create_task(worker.start())
    await eventually(lambda: "json line" in caplog.text, seconds=60)
    read.touch()
    await starting
    pid = worker.pid
    assert worker.engine is not None
    await answer(worker.engine, question())
    await eventually(lambda: "late words" in caplog.text, seconds=60)
    await worker.aclose()
    logged = {record.getMessage()[:30]: record for record in caplog.records}
    warning = logged["take care of it"]
    assert (warning.name, warning.levelname) == ("silkline.plug", "WARNING")
    assert warning.__dict__["ecs"] == {"http.request.id": "r-1", "process.pid": pid}
    assert logged["two\nlines"].levelname == "INFO"
    (defect,) = (record for record in caplog.records if record.levelname == "ERROR")
    assert "ZeroDivisionError" in defect.__dict__["ecs"]["error.stack_trace"]
    for text, level in (
        ("a library that talks", "WARNING"),
        ('{"a": "json line"}', "WARNING"),
        ("late words", "INFO"),
    ):
        assert (logged[text].name, logged[text].levelname) == ("silkline.worker", level)
        assert logged[text].__dict__["ecs"] == {"process.pid": pid}


async def test_why_a_worker_does_not_start_is_logged_as_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plug_in(tmp_path, monkeypatch, "def create_engine(options): raise RuntimeError('bad bundle')")
    caplog.set_level(logging.WARNING)
    with pytest.raises(WorkerLost, match="exit code 1"):
        await WorkerSupervisor("plug", EngineOptions(), start_timeout=60).start()
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert "bad bundle" in record.__dict__["ecs"]["error.stack_trace"]
