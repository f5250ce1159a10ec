"""The stages of a ship, killed at every point at which a process can die."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from silkline.errors import ConfigError
from silkline.ship.journal import Journal, Kind, Ship
from silkline.ship.machine import Known, Outcome, Show, Stage, State, ends_of, run, state_of

SHIP = Ship("abc", "silkline ship m", {}, {"model": "m"}, 1e9)


class Killed(BaseException):
    """What ends a process: no handler of errors sees it."""


class World:
    """What stages change, and how many steps are left until the process dies."""

    def __init__(self) -> None:
        self.made: dict[str, str] = {}
        self.runs: list[str] = []
        self.left = 10_000

    def step(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Killed


class Make:
    """Makes something of what the stage before it made, in two steps."""

    def __init__(self, name: str, world: World, before: str = "") -> None:
        self.name = name
        self._world = world
        self._before = before

    async def run(self, known: Known, show: Show) -> Outcome:
        self._world.runs.append(self.name)
        self._world.step()
        made = known[self._before]["made"] + "." if self._before else ""
        self._world.made[self.name] = f"{made}{self.name}"
        self._world.step()
        return Outcome(Kind.DONE, "made", {"made": self._world.made[self.name]})


class Ends:
    """Ends in some other way."""

    def __init__(self, name: str, kind: Kind, facts: Mapping[str, Any] = {}) -> None:
        self.name = name
        self._outcome = Outcome(kind, "because", facts)

    async def run(self, known: Known, show: Show) -> Outcome:
        return self._outcome


class Fails:
    """Fails as often as it is told to."""

    name = "a"

    def __init__(self, times: int) -> None:
        self._times = times

    async def run(self, known: Known, show: Show) -> Outcome:
        self._times -= 1
        if self._times >= 0:
            raise ConfigError("The disk is missing.")
        return Outcome(Kind.DONE, "went well")


class DyingJournal(Journal):
    """A journal whose process may die before or after each event is written."""

    def __init__(self, path: Path, world: World) -> None:
        super().__init__(path)
        self._world = world

    def add(
        self, ship: str, stage: str, kind: Kind, about: str = "", facts: Mapping[str, Any] = {}
    ) -> None:
        self._world.step()
        super().add(ship, stage, kind, about, facts)
        self._world.step()


def nothing(what: str, done: float, total: float, detail: str) -> None:
    """Shows nothing."""


def stages(world: World) -> list[Stage]:
    return [Make("a", world), Make("b", world, "a"), Make("c", world, "b")]


async def once(path: Path, world: World, made: list[Stage], until: str = "") -> State:
    with DyingJournal(path, world) as journal:
        journal.begin(SHIP)
        await run(SHIP, made, journal, nothing, until)
        return state_of(journal.events(SHIP.id), made[-1].name)


async def test_killed_anywhere_it_comes_to_the_same_end(tmp_path: Path) -> None:
    whole = World()
    assert await once(tmp_path / "whole", whole, stages(whole)) is State.PROMOTED
    steps = 10_000 - whole.left
    assert steps == 18
    for point in range(steps):
        path, world = tmp_path / str(point), World()
        world.left = point
        with pytest.raises(Killed):
            await once(path, world, stages(world))
        world.left = 10_000
        assert await once(path, world, stages(world)) is State.PROMOTED
        with Journal(path) as journal:
            ended = ends_of(journal.events(SHIP.id))
            assert [event.stage for event in ended.values()] == ["a", "b", "c"]
        assert ended["c"].facts == {"made": "a.b.c"}
        assert len(world.runs) <= len(whole.runs) + 1  # only the killed stage ran again


async def test_killed_again_and_again(tmp_path: Path) -> None:
    world = World()
    for _ in range(60):
        world.left = 6  # a stage takes as many
        try:
            state = await once(tmp_path / "j", world, stages(world))
        except Killed:
            continue
        assert state is State.PROMOTED
        break
    else:
        pytest.fail("it made no progress")


async def test_until_a_stage_and_then_the_rest(tmp_path: Path) -> None:
    world = World()
    assert await once(tmp_path / "j", world, stages(world), until="b") is State.STOPPED
    assert world.runs == ["a", "b"]
    assert await once(tmp_path / "j", world, stages(world)) is State.PROMOTED
    assert world.runs == ["a", "b", "c"]
    assert await once(tmp_path / "j", world, stages(world)) is State.PROMOTED
    assert world.runs == ["a", "b", "c"]  # what has ended stays ended


@pytest.mark.parametrize(
    ("kind", "facts", "state", "runs"),
    [
        (Kind.SKIPPED, {}, State.PROMOTED, ["c"]),
        (Kind.REFUSED, {}, State.REFUSED, []),
        (Kind.REFUSED, {"rolled_back": True}, State.ROLLED_BACK, []),
    ],
)
async def test_what_a_stage_says_decides_about_the_rest(
    tmp_path: Path, kind: Kind, facts: dict[str, Any], state: State, runs: list[str]
) -> None:
    world = World()
    made: list[Stage] = [Ends("a", kind, facts), Make("c", world)]
    for _ in range(2):
        assert await once(tmp_path / "j", world, made) is state
        assert world.runs == runs


async def test_a_failed_stage_runs_again(tmp_path: Path) -> None:
    made: list[Stage] = [Fails(times=2)]
    for _ in range(2):
        with pytest.raises(ConfigError, match="disk is missing"):
            await once(tmp_path / "j", World(), made)
    assert await once(tmp_path / "j", World(), made) is State.PROMOTED
    with Journal(tmp_path / "j") as journal:
        found = [(event.kind, event.about) for event in journal.events(SHIP.id)]
    failed = [(Kind.BEGAN, ""), (Kind.FAILED, "The disk is missing.")]
    assert found == [*failed, *failed, (Kind.BEGAN, ""), (Kind.DONE, "went well")]


async def test_an_aborted_ship_goes_nowhere(tmp_path: Path) -> None:
    world = World()
    await once(tmp_path / "j", world, stages(world), until="a")
    with Journal(tmp_path / "j") as journal:
        journal.add(SHIP.id, "b", Kind.ABORTED, "ann ended it.")
    assert await once(tmp_path / "j", world, stages(world)) is State.ABORTED
    assert world.runs == ["a"]


def test_another_file_is_not_taken_for_a_journal(tmp_path: Path) -> None:
    (tmp_path / "j").write_text("something else, which is long enough to have no header" * 20)
    with pytest.raises(ConfigError, match="is not a journal of ships"), Journal(tmp_path / "j"):
        pass
