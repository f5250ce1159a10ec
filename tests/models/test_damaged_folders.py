"""What `inspect` says no to is refused by the start in the same words; the rest starts."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner

pytest.importorskip("torch")
pytest.importorskip("transformers")

from silkline.cli.main import silkline
from silkline.config import EngineSettings
from silkline.engines.base import EngineOptions
from silkline.engines.openvino.export import plan as planning
from silkline.engines.openvino.export.plan import Precision, plan_export
from silkline.engines.registry import create_engine
from silkline.engines.torch.families.table import ADAPTERS
from silkline.engines.torch.support import WITHOUT_TEMPLATE
from silkline.errors import ConfigError, SilklineError
from silkline.models import completeness
from silkline.models.resolve import locate_model
from silkline.service.model import prepare_model
from silkline.service.pool import choose_engine
from tests.cli.test_main import run
from tests.engines.torch.tiny import TINY, save
from tests.models.damage import DAMAGES, Damage, after, pointer, with_file, without


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny LLaVA-1.5 that lacks nothing."""
    tiny = next(each for each in TINY if each.model_type == "llava")
    return save(tiny, tmp_path_factory.mktemp("whole") / "tiny-llava")


@pytest.fixture(params=DAMAGES, ids=lambda damage: damage.name)
def damage(request: pytest.FixtureRequest) -> Damage:
    damage: Damage = request.param
    return damage


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


def test_inspect_and_the_export_agree(
    folder: Path, damage: Damage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to the export itself, which plans only what `inspect` says yes to."""
    versions = dict.fromkeys(planning.ENGINE, "2026.4.0")
    monkeypatch.setattr(planning, "version", versions.__getitem__)
    why = inspected(folder, "openvino")
    if not damage.told:
        assert why is None
        assert plan_export(locate_model(str(folder), {}), Precision.INT8, "d").name == "model"
        return
    with pytest.raises(ConfigError) as refused:
        plan_export(locate_model(str(folder), {}), Precision.INT8, "d")
    assert why is not None
    assert why.removesuffix(".") in refused.value.message


def test_a_slow_tokenizer_names_the_libraries_that_read_it(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = {"sentencepiece": None, "google.protobuf": "here"}
    monkeypatch.setattr(
        completeness, "find_spec", lambda name: here[name] if name in here else find_spec(name)
    )
    folder = shutil.copytree(whole, tmp_path / "model")
    after(without("tokenizer.json"), with_file("tokenizer.model", b"\n\x00"))(folder)
    why = inspected(folder, "torch") or ""
    assert "sentencepiece is not installed; run: pip install sentencepiece protobuf" in why
    here["sentencepiece"] = "here"
    assert inspected(folder, "torch") is None


def test_everything_that_is_missing_is_told_at_once(whole: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(whole, tmp_path / "model")
    names = ("preprocessor_config.json", "tokenizer.json", "chat_template.jinja")
    without(*names, "model.safetensors")(folder)
    why = inspected(folder, "torch") or ""
    assert all(f"no {name}" in why for name in names[:2])
    assert "no chat template" in why
    assert "no safetensors" in why


def test_damage_that_one_engine_does_not_read_is_not_its_concern(
    whole: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(whole, tmp_path / "model")
    (folder / "model.gguf").write_bytes(b"")
    assert inspected(folder, "torch") is None
    assert "model.gguf" in str(inspected(folder, "llamacpp"))


@pytest.mark.parametrize("engine", ["torch", "auto"])
def test_doctor_says_so_too(whole: Path, tmp_path: Path, engine: str) -> None:
    folder = shutil.copytree(whole, tmp_path / "model")
    asked = ["doctor", "--json", "--port", "0", "--engine", engine, "--model", str(folder)]

    def told() -> dict[str, str]:
        found = json.loads(CliRunner().invoke(silkline, asked).output)
        return next(each for each in found if each["what"] == "model")

    assert told()["verdict"] == "good"
    (folder / "tokenizer.json").unlink()
    assert told()["verdict"] == "bad"
    assert "no tokenizer.json" in told()["detail"]


@pytest.mark.slow
def test_up_refuses_with_the_same_words(whole: Path, tmp_path: Path) -> None:
    """The command itself, for one folder."""
    folder = shutil.copytree(whole, tmp_path / "model")
    (folder / "model.safetensors").write_bytes(pointer(14_126_854_144))
    done = run("up", str(folder), "--engine", "torch")
    assert done.returncode == 2
    assert f"{inspected(folder, 'torch')}." in done.stderr


def test_families_without_a_template_are_those_of_the_adapters() -> None:
    plain = {name for each in ADAPTERS if "plain_prompt" in vars(each) for name in each.model_types}
    assert plain == WITHOUT_TEMPLATE
