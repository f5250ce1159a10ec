import sqlite3
from pathlib import Path

import pytest

from silkline.errors import ConfigError, EnvironmentFault
from silkline.optimize.search.study import Study
from silkline.optimize.search.trial import Trial

PLAN = {"seed": 1}


def test_trials_are_found_again(tmp_path: Path) -> None:
    path = tmp_path / "work" / "search.sqlite"
    first = Trial(names=("a", "b"), items=8, speed=1.5)
    later = Trial(names=("a", "b"), items=16, speed=1.25)
    with Study(path, PLAN) as study:
        study.add(first, 8, 3.0)
        study.add(Trial(names=("c",), problem="it failed"), 8, 4.0)
        study.add(later, 16, 5.5)
    with Study(path, {"seed": 1}) as study:
        assert study.seconds == 5.5
        assert study.find(("a", "b"), 8) == first
        assert study.find(("a", "b"), 32) is None
        assert study.find(("b", "a"), 8) is None
        assert [each.names for each in study.trials()] == [("a", "b"), ("c",)]
        assert study.trials()[0] == later


def test_another_search_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "search.sqlite"
    with Study(path, PLAN):
        pass
    with (
        pytest.raises(ConfigError, match="is the journal of another search"),
        Study(path, {"seed": 2}),
    ):
        pass


def test_a_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "search.sqlite"
    path.write_text("not SQLite at all, but longer than its header is: " * 4)
    with pytest.raises(ConfigError, match="is not the journal of a search"), Study(path, PLAN):
        pass
    (tmp_path / "folder").mkdir()
    with pytest.raises(EnvironmentFault, match="cannot be used"), Study(tmp_path / "folder", PLAN):
        pass
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as file:
        file.execute("CREATE TABLE trials (names TEXT)")
    with pytest.raises((ConfigError, EnvironmentFault)), Study(other, PLAN) as study:
        study.trials()
