from pathlib import Path

import msgspec
import pytest

from silkline.bench.record import read_run, write_run
from tests.bench.runs import good_run, made_run, record


def test_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    stream = record(1, first_token=0.105, gaps=[0.001, 0.002], limited=True)
    failed = record(2, status=0, code="timeout", stages={}, cache="", sent=0.0)
    run = made_run(*good_run(2).records, stream, failed, targets=2)
    write_run(run, tmp_path / "requests.jsonl")
    assert read_run(tmp_path / "requests.jsonl") == run


def test_every_line_is_json_and_the_first_names_the_columns(tmp_path: Path) -> None:
    write_run(good_run(), tmp_path / "requests.jsonl")
    head, *lines = (tmp_path / "requests.jsonl").read_bytes().splitlines()
    columns = msgspec.json.decode(head)["columns"]
    assert len(lines) == 100
    for line in lines:
        assert len(msgspec.json.decode(line)) == len(columns)
    assert columns[:5] == ["number", "target", "picture", "variant", "intended"]


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "requests.jsonl").write_text("{}\n")
    with pytest.raises(msgspec.DecodeError):
        read_run(tmp_path / "requests.jsonl")


def test_waiting_to_be_sent_is_part_of_the_latency() -> None:
    late = record(10, sent=1.4, ended=1.5)
    assert late.latency == pytest.approx(0.5)
    assert late.lateness == pytest.approx(0.4)
    never = record(10, sent=0.0, ended=3.0, status=0, code="timeout")
    assert never.lateness == pytest.approx(2.0)
