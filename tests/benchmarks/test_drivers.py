"""The real drivers, on the fake engine: one short cell each."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from benchmarks.closed_loop import Cell
from benchmarks.figures import figures
from benchmarks.processes import BenchmarkError, cpu_seconds, started
from benchmarks.report import ENGINE, GATEWAY
from benchmarks.subjects import Place, subject

CELL = Cell(
    prompt="What is this?",
    max_tokens=8,
    concurrency=2,
    warmup_seconds=0.0,
    seconds=0.4,
    first_picture=0,
    pictures=24,
)


@pytest.mark.slow
def test_gateway_and_engine_alone_answer_the_same(tmp_path: Path) -> None:
    place = Place(tmp_path, "fake", "silkline-mini")
    texts = {}
    for name in (ENGINE, GATEWAY):
        with subject(name, place) as one:
            measured = one.driver.run(CELL)
            family = [psutil.Process(one.pid), *psutil.Process(one.pid).children(recursive=True)]
            parts = set(cpu_seconds(one.pid))
        assert not any(member.is_running() for member in family)
        assert figures(measured, {}).errors == 0
        assert parts == ({"engine"} if name == ENGINE else {"gateway", "worker", "decoder"})
        texts[name] = {asked.picture: asked.reply.text for asked in measured.asked}
    both = texts[ENGINE].keys() & texts[GATEWAY].keys()
    assert both
    assert all(texts[ENGINE][picture] == texts[GATEWAY][picture] != "" for picture in both)


def test_what_does_not_start_is_told(tmp_path: Path) -> None:
    place = Place(tmp_path, "no-such-engine", "silkline-mini")

    with pytest.raises(BenchmarkError, match="ended"), subject(GATEWAY, place):
        pass

    assert "no-such-engine" in place.log(GATEWAY).read_text()


def test_a_process_ends_with_the_block_even_on_an_error(tmp_path: Path) -> None:
    def fail() -> None:
        with started(["sleep", "60"], tmp_path / "log") as process:
            pids.append(process.pid)
            raise BenchmarkError("stop")

    pids: list[int] = []
    with pytest.raises(BenchmarkError, match="stop"):
        fail()
    assert not psutil.pid_exists(pids[0])
