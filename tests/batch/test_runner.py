"""Jobs through their journal: one result for each item, however often a run ends early."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from silkline.batch.item import Counts, Entry, Result, Work
from silkline.batch.journal import Journal
from silkline.batch.runner import Job, run
from silkline.errors import ConfigError, InvalidRequest


@dataclass
class Word:
    """An item that asks its own text; one that starts with ! cannot be read."""

    id: str
    text: str

    def read(self) -> Work[str]:
        if self.text.startswith("!"):
            raise InvalidRequest("It cannot be read.")
        return Work(self.text.encode(), self.text)


class Engine:
    """Counts what it is asked; fails for good, or for some attempts, as the text says."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.asked: list[str] = []
        self.in_flight = self.most = 0
        self._stop_after = stop_after

    async def ask(self, text: str) -> Result:
        self.asked.append(text)
        if self._stop_after is not None and len(self.asked) > self._stop_after:
            raise RuntimeError
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        await asyncio.sleep(0)
        self.in_flight -= 1
        if text == "bad":
            return Result(b'"bad"', error="invalid_request")
        if text == "later" and self.asked.count(text) < 3:
            return Result(b'"later"', error="overloaded", transient=True)
        return Result(text.upper().encode())


def failed(error: Exception) -> Result:
    return Result(b"unread", error="invalid_request")


def words(*texts: str) -> Iterator[Entry[str]]:
    return iter([Word(f"w{index}", text) for index, text in enumerate(texts)])


def ran(path: Path, engine: Engine, *texts: str, at_once: int = 4) -> Counts:
    journal = Journal(path / "journal.sqlite")
    try:
        job = Job(words(*texts), engine.ask, failed, at_once, pause=0.0)
        return asyncio.run(run(job, journal))
    finally:
        journal.close()


def settled(path: Path) -> list[tuple[str, bytes | None, str]]:
    journal = Journal(path / "journal.sqlite")
    found = [
        (one.id, None if one.result is None else one.result.content, one.first)
        for one in journal.settled()
    ]
    journal.close()
    return found


def test_each_question_is_asked_once_and_each_item_has_its_result(tmp_path: Path) -> None:
    engine = Engine()
    counts = ran(tmp_path, engine, "a", "b", "a", "bad", "bad", "!", "a")
    assert sorted(engine.asked) == ["a", "b", "bad"]
    assert (counts.items, counts.answered, counts.failed) == (7, 4, 3)
    assert (counts.asked, counts.duplicates) == (4, 3)
    assert settled(tmp_path) == [
        ("w0", b"A", "w0"), ("w1", b"B", "w1"), ("w2", b"A", "w0"), ("w3", b'"bad"', "w3"),
        ("w4", b'"bad"', "w3"), ("w5", b"unread", "w5"), ("w6", b"A", "w0"),
    ]  # fmt: skip


def test_a_run_continues_where_the_last_one_ended(tmp_path: Path) -> None:
    texts = [f"t{index % 150}" for index in range(200)]
    with pytest.raises(ExceptionGroup):
        ran(tmp_path, Engine(stop_after=70), *texts)
    kept = [one for one in settled(tmp_path) if one[1] is not None]
    engine = Engine()
    counts = ran(tmp_path, engine, *texts)
    assert counts.answered == 200
    assert counts.known == len(kept) >= 60
    assert len(engine.asked) == 150 - len({content for _, content, _ in kept})
    assert [content for _, content, _ in settled(tmp_path)] == [t.upper().encode() for t in texts]
    again = Engine()
    assert ran(tmp_path, again, *texts).known == 200
    assert again.asked == []


def test_an_error_that_may_pass_is_asked_again(tmp_path: Path) -> None:
    engine = Engine()
    assert ran(tmp_path, engine, "later").answered == 1
    assert engine.asked == ["later"] * 3


def test_at_most_so_many_questions_are_in_flight(tmp_path: Path) -> None:
    engine = Engine()
    ran(tmp_path, engine, *map(str, range(100)), at_once=3)
    assert engine.most == 3


def test_two_runs_do_not_share_a_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite")
    with pytest.raises(ConfigError, match="Another run"):
        Journal(tmp_path / "journal.sqlite")
    journal.close()
