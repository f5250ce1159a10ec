"""Runs: each item is asked once, so many at a time, and failures again."""

from __future__ import annotations

import asyncio
import resource
from collections import Counter
from pathlib import Path

import pytest

from silkline.core import Answer, FinishReason, Stage, Timeline, Usage
from silkline.errors import EnvironmentFault, WorkerLost
from silkline.evaluate.item import Item
from silkline.evaluate.journal import Journal, Reply
from silkline.evaluate.run import Asked, Step, run_items
from tests.evaluate.items import SUBJECT, item

ITEMS = [item("a", name=str(number)) for number in range(20)]


class Person:
    """Answers with the item's id, or fails for some; counts."""

    def __init__(self, failing: frozenset[str] = frozenset()) -> None:
        self.asked: Counter[str] = Counter()
        self.failing = failing
        self.open = self.most = 0

    async def ask(self, item: Item) -> Asked:
        self.asked[item.id] += 1
        self.open += 1
        self.most = max(self.most, self.open)
        await asyncio.sleep(0.001)
        self.open -= 1
        if item.id in self.failing:
            raise WorkerLost("The worker is gone; try again.")
        timeline = Timeline({Stage.QUEUE: 0.5})
        return Asked(Answer(item.id, FinishReason.STOP, Usage(9, 2, 4), timeline), 64)


async def ask(path: Path, person: Person, steps: list[Step] | None = None) -> list[Reply]:
    with Journal(path) as journal:
        return await run_items(
            ITEMS, SUBJECT, person, journal, 4, (steps if steps is not None else []).append
        )


async def test_all_are_asked_once_and_four_at_a_time(tmp_path: Path) -> None:
    person, steps = Person(), list[Step]()
    replies = await ask(tmp_path / "a", person, steps)
    assert [one.answer for one in replies] == [one.id for one in ITEMS]
    assert replies[0].stages == {"queue": 0.5}
    assert (replies[0].prompt_tokens, replies[0].image_tokens, replies[0].pixels) == (9, 4, 64)
    assert set(person.asked.values()) == {1}
    assert person.most == 4
    assert steps[0] == Step(20, 0, 0, 0)
    assert steps[-1] == Step(20, 20, 0, 0)


async def test_failures_are_kept_and_asked_again(tmp_path: Path) -> None:
    failing = frozenset({"3", "7"})
    first = await ask(tmp_path / "a", Person(failing))
    assert {one.id for one in first if one.error} == failing
    assert first[3].error == "worker_lost"
    person = Person()
    second = await ask(tmp_path / "a", person)
    assert person.asked.keys() == failing
    assert all(one.answer for one in second)


async def test_a_run_that_is_stopped_continues(tmp_path: Path) -> None:
    person = Person()
    with Journal(tmp_path / "a") as journal:
        ninth = asyncio.Event()

        def watch(step: Step) -> None:
            if step.done >= 9:
                ninth.set()

        run = asyncio.create_task(run_items(ITEMS, SUBJECT, person, journal, 4, watch))
        await ninth.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        kept = {one.id for one in journal.replies.values()}
    assert 9 <= len(kept) < 20
    rest = Person()
    replies = await ask(tmp_path / "a", rest)
    assert rest.asked.keys() == {one.id for one in ITEMS} - kept
    assert [one.answer for one in replies] == [one.id for one in ITEMS]


async def test_a_full_disk_ends_the_run_and_leaves_a_good_journal(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_500, before[1]))
    try:
        with pytest.raises(EnvironmentFault, match="cannot be written: File too large"):
            await ask(tmp_path / "a", Person())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    person = Person()
    assert all(one.answer for one in await ask(tmp_path / "a", person))
    assert 0 < len(person.asked) < 20


async def test_items_of_the_same_key_are_asked_once(tmp_path: Path) -> None:
    person, steps = Person(), list[Step]()
    repeated = [*ITEMS[:3], ITEMS[0], ITEMS[2], ITEMS[2]]
    with Journal(tmp_path / "a") as journal:
        replies = await run_items(repeated, SUBJECT, person, journal, 4, steps.append)
    assert [one.answer for one in replies] == ["0", "1", "2", "0", "2", "2"]
    assert set(person.asked.values()) == {1}
    assert steps[-1] == Step(3, 3, 0, 0)
    again = Person()
    with Journal(tmp_path / "a") as journal:
        assert await run_items(repeated, SUBJECT, again, journal, 4, steps.append) == replies
    assert not again.asked
    assert steps[-1] == Step(3, 3, 3, 0)
