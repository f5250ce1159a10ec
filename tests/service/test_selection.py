"""Which models the command line serves."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from silkline.cli.main import silkline
from silkline.config import EngineSettings, ModelSettings, Settings
from silkline.errors import ConfigError
from silkline.models.resolve import BUNDLED_MODEL, bundled_folder
from silkline.service.selection import selected
from tests.models.samples import LLAVA_15_7B, save_whole

TABLES = Settings(
    engine=EngineSettings(threads=1),
    models={"first": ModelSettings(max_batch=2), "second": ModelSettings(model="org/second")},
)


def test_without_arguments_all_tables_are_served() -> None:
    assert selected(TABLES, ()) is TABLES


def test_one_model_is_that_of_the_engine_section() -> None:
    [(key, model)] = selected(TABLES, ("org/other",)).served.items()
    assert (key, model.model, model.threads) == ("", "org/other", 1)


def test_the_name_of_a_table_is_that_table() -> None:
    [(key, model)] = selected(TABLES, ("first",)).served.items()
    assert (key, model.served_name, model.max_batch) == ("first", "first", 2)


def test_several_are_named_as_each_alone_would_be(tmp_path: Path) -> None:
    folder = save_whole(tmp_path / "Модель", LLAVA_15_7B)
    served = selected(TABLES, ("second", BUNDLED_MODEL, str(folder))).served
    second, bundled, model = served.values()
    assert list(served)[:2] == ["second", BUNDLED_MODEL]
    assert second.model == "org/second"
    assert (bundled.model, bundled.aliases) == (BUNDLED_MODEL, ())
    assert model.served_name.startswith("Model-")
    assert model.aliases == (str(folder), "Модель")


@pytest.mark.parametrize("twice", [(BUNDLED_MODEL, str(bundled_folder())), ("first", "first")])
def test_two_models_of_one_name_are_refused(twice: tuple[str, str]) -> None:
    with pytest.raises(ConfigError, match="Two of the models would have the name"):
        selected(TABLES, twice)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("a", "b", "--model", "c"), "use only one of them"),
        ((BUNDLED_MODEL, "/no/such/folder"), "/no/such/folder"),
    ],
)
def test_up_refuses_what_it_cannot_choose(arguments: tuple[str, ...], expected: str) -> None:
    result = CliRunner().invoke(silkline, ["up", *arguments])
    assert expected in f"{result.output} {result.exception}"
    assert result.exit_code != 0
