"""The admin API's changes against the settings: for each model, what changed last counts."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as configured
from hypothesis import strategies as st

from silkline.config import AdminSettings, EngineSettings, ModelSettings, Settings
from silkline.errors import ConfigError, EnvironmentFault
from silkline.service.model_changes import ModelChanges

Tables = dict[str, int]
"""What is served: `max_batch` by name."""

NAMES = st.sampled_from("abc")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), NAMES, st.integers(1, 3)),
        st.tuples(st.just("remove"), NAMES, st.just(0)),
        st.tuples(st.just("edit"), NAMES, st.integers(0, 3)),
        st.tuples(st.just("restart"), st.just(""), st.just(0)),
    ),
    max_size=12,
)


def settings_of(tables: Tables) -> Settings:
    models = {name: ModelSettings(max_batch=batch) for name, batch in tables.items()}
    return Settings(models=models, admin=AdminSettings(allowed_models=("*",)))


def served(changes: ModelChanges, settings: Settings) -> Tables:
    return {name: model.max_batch for name, model in changes.applied(settings).items()}


@configured(deadline=None, max_examples=40)
@given(STEPS)
def test_what_changed_last_counts(steps: list[tuple[str, str, int]]) -> None:
    """Put and remove are the API's, edit the owner's (0 removes the table, and reads the file)."""
    with TemporaryDirectory() as folder:
        path = str(Path(folder) / "state.json")
        changes, tables = ModelChanges(path), {"kept": 9}
        expected: Tables = dict(tables)
        for step, name, batch in steps:
            settings = settings_of(tables)
            if step == "put":
                changes.record(name, name, ModelSettings(max_batch=batch), settings)
                expected[name] = batch
            elif step == "remove" and name in expected:
                changes.record(name, name, None, settings)
                del expected[name]
            elif step == "edit" and batch != tables.get(name, 0):
                tables = {key: each for key, each in tables.items() if key != name}
                tables |= {name: batch} if batch else {}
                expected.pop(name, None)
                expected |= {name: batch} if batch else {}
            elif step == "restart":
                changes = ModelChanges(path)
            assert served(changes, settings_of(tables)) == expected


def test_a_change_holds_while_other_settings_change(tmp_path: Path) -> None:
    changes = ModelChanges(str(tmp_path / "state.json"))
    changes.record("a", "a", ModelSettings(max_batch=2), settings_of({"a": 1}))
    settings = settings_of({"a": 1}).model_copy(update={"engine": EngineSettings(threads=3)})
    found = changes.applied(settings)["a"]
    assert (found.max_batch, found.threads) == (2, 3)


def test_the_model_of_the_engine_section_may_be_replaced(tmp_path: Path) -> None:
    path, settings = str(tmp_path / "state.json"), Settings()
    changes = ModelChanges(path)
    changes.record("", "named", ModelSettings(max_batch=2), settings)
    [(key, model)] = ModelChanges(path).applied(settings).items()
    assert (key, model.served_name, model.max_batch) == ("", "named", 2)
    edited = Settings(engine=EngineSettings(threads=1))
    [(key, model)] = ModelChanges(path).applied(edited).items()
    assert (key, model.served_name, model.max_batch) == ("", "", 16)


def test_a_model_that_is_no_longer_allowed_is_left_out(tmp_path: Path) -> None:
    path, open_settings = str(tmp_path / "state.json"), settings_of({"a": 1})
    changes = ModelChanges(path)
    changes.record("b", "b", ModelSettings(model="org/b"), open_settings)
    changes.record("a", "a", ModelSettings(model="org/b"), open_settings)
    closed = open_settings.model_copy(update={"admin": AdminSettings()})
    assert served(ModelChanges(path), closed) == {"a": 1}
    assert list(served(ModelChanges(path), open_settings)) == ["a", "b"]


def test_settings_that_cannot_be_applied_lose_no_change() -> None:
    changes, settings = ModelChanges(""), settings_of({"a": 1, "b": 1})
    changes.record("b", "b", ModelSettings(max_batch=5), settings)
    changes.record("c", "c", ModelSettings(max_batch=6), settings)
    tables = {"a": ModelSettings(aliases=("c",)), "b": ModelSettings(max_batch=2)}
    with pytest.raises(ConfigError, match="both have the name or alias c"):
        changes.applied(settings.model_copy(update={"models": tables}))
    assert served(changes, settings) == {"a": 1, "b": 5, "c": 6}


def test_the_last_model_of_the_settings_cannot_be_lost(tmp_path: Path) -> None:
    changes = ModelChanges("")
    changes.record("a", "a", None, settings_of({"a": 1}))
    with pytest.raises(ConfigError, match="removed the last model"):
        changes.applied(settings_of({"a": 1}))


@pytest.mark.parametrize(
    "content",
    ["", "{}", "[]", '{"version": 2, "changes": {}}', '{"version": 1, "changes": {"a": 3}}'],
)
def test_another_file_is_refused_and_kept(tmp_path: Path, content: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"admin_state|version 2"):
        ModelChanges(str(path))
    assert path.read_text() == content


def test_a_table_that_this_version_does_not_know_is_refused(tmp_path: Path) -> None:
    path, settings = tmp_path / "state.json", settings_of({"a": 1})
    ModelChanges(str(path)).record("b", "b", ModelSettings(max_batch=2), settings)
    document: Any = json.loads(path.read_text())
    document["changes"]["b"]["table"] = {"max_bath": 2}
    path.write_text(json.dumps(document))
    with pytest.raises(ConfigError, match="model b that is not valid"):
        ModelChanges(str(path)).applied(settings)


def test_a_change_that_cannot_be_written_is_not_made(tmp_path: Path) -> None:
    changes = ModelChanges(str(tmp_path / "file" / "state.json"))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EnvironmentFault, match="cannot be written"):
        changes.record("b", "b", ModelSettings(max_batch=2), settings_of({"a": 1}))
    assert served(changes, settings_of({"a": 1})) == {"a": 1}
