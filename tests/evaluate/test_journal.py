"""The journal keeps what was answered, whatever ends the process."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

import pytest

from silkline.errors import ConfigError, EnvironmentFault
from silkline.evaluate.journal import Journal
from tests.evaluate.items import SUBJECT, reply

MARK = SUBJECT.fingerprint


def write(path: Path, *texts: str) -> None:
    with Journal(path) as journal:
        journal.begin(SUBJECT)
        for number, text in enumerate(texts):
            journal.add(reply(text, name=str(number)))


def test_what_was_added_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "answers.jsonl"
    write(path, "one", "two\n\u2028")
    with Journal(path) as journal:
        assert journal.replies[MARK, "key-1"].answer == "two\n\u2028"
        journal.begin(SUBJECT)
        journal.add(reply("other", name="1"))
    with Journal(path) as journal:
        assert journal.replies[MARK, "key-1"].answer == "other"
    assert path.read_text().count('"kind":"subject"') == 1


def test_a_cut_line_is_dropped_wherever_it_was_cut(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    write(path, "one", "two")
    whole = path.read_bytes()
    begin = whole.rstrip(b"\n").rfind(b"\n") + 1
    for length in range(begin, len(whole)):
        path.write_bytes(whole[:length])
        with Journal(path) as journal:
            assert [key for _, key in journal.replies] == ["key-0"]
            journal.add(reply("two", name="1"))
        assert path.read_bytes() == whole


def test_a_line_that_is_no_answer_is_named(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    write(path, "one")
    for line in (b"{}\n", b"\xff\n", b"\n", b"[" * 9_999 + b"\n", b'{"kind":"answer"}\n'):
        path.write_bytes(path.read_bytes().split(b"\n")[0] + b"\n" + line)
        with pytest.raises(ConfigError, match=r"answers\.jsonl line 2 is not a journal line"):
            Journal(path).__enter__()


def test_two_runs_do_not_share_a_journal(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    with Journal(path), pytest.raises(ConfigError, match="Another run is using"):
        Journal(path).__enter__()
    with Journal(path):
        pass


def test_a_journal_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be opened: File exists"):
        Journal(tmp_path / "file" / "answers.jsonl").__enter__()


def test_half_a_line_on_a_full_disk_does_not_spoil_the_next(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Journal(path) as journal:
        journal.add(reply("one", name="0"))
        room = path.stat().st_size + 10
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
        try:
            with pytest.raises(EnvironmentFault, match="cannot be written: File too large"):
                journal.add(reply("two", name="1"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        journal.add(reply("three", name="2"))  # was under way when the disk was full
    with Journal(path) as journal:
        assert [key for _, key in journal.replies] == ["key-0", "key-2"]


def test_a_disk_that_fails_at_the_end_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    path = tmp_path / "answers.jsonl"
    with monkeypatch.context() as broken:
        broken.setattr("silkline.evaluate.journal.os.fsync", fails)
        with pytest.raises(EnvironmentFault, match="output error"):
            write(path, "one")
    write(path, "two")  # nobody holds it any more
