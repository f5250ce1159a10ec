"""What `inspect` says no to is refused by the start in the same words; the rest starts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

pytest.importorskip("torch")
pytest.importorskip("transformers")

from silkline.cli.main import silkline
from silkline.cli.model import prepare_model
from silkline.cli.serving import choose_engine
from silkline.config import EngineSettings
from silkline.engines.base import EngineOptions
from silkline.engines.registry import create_engine
from silkline.errors import ConfigError, SilklineError
from tests.engines.torch.tiny import TINY, save
from tests.models.damage import DAMAGES, Damage


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny LLaVA-1.5 that lacks nothing."""
    tiny = next(each for each in TINY if each.model_type == "llava")
    return save(tiny, tmp_path_factory.mktemp("whole") / "tiny-llava")


@pytest.fixture(params=DAMAGES, ids=lambda damage: damage.name)
def damage(request: pytest.FixtureRequest) -> Damage:
    return request.param


@pytest.fixture
def folder(whole: Path, damage: Damage, tmp_path: Path) -> Path:
    damage.harm(shutil.copytree(whole, tmp_path / "model"))
    return tmp_path / "model"


def inspected(folder: Path, engine: str) -> str | None:
    """Why `silkline inspect` says that an engine does not serve a folder; None where it does."""
    result = CliRunner().invoke(silkline, ["inspect", "--json", str(folder)])
    if isinstance(result.exception, SilklineError):
        return result.exception.message
    assert result.exit_code == 0, result.exception
    support = {each["engine"]: each for each in json.loads(result.output)["engines"]}[engine]
    return None if support["verdict"] == "yes" else str(support["why"])


async def started(folder: Path, store: Path) -> str | None:
    """Why the start refuses a folder for the engine torch; None where it starts."""
    wanted = EngineSettings(model=str(folder), engine="torch", export_store=str(store))
    try:
        choice = await choose_engine(wanted)
        files = prepare_model(wanted, choice.engine, {}, lambda _: None)
        options = EngineOptions(
            files.folder, max_batch=1, threads=1, kv_cache_bytes=2**22,
            name=files.name, revision=files.revision,
        )  # fmt: skip
        engine = create_engine(choice.engine, options)
        await engine.start()
    except ConfigError as error:
        return error.message
    await engine.aclose()
    return None


async def test_inspect_and_the_start_agree(folder: Path, damage: Damage, tmp_path: Path) -> None:
    why = inspected(folder, "torch")
    refusal = await started(folder, tmp_path / "store")
    assert (why is None, refusal is None) == (not damage.told, not damage.told), (why, refusal)
    for word in damage.told:
        assert word in str(why)
        assert word in str(refusal)
