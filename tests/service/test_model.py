"""From what the user calls a model to what an engine gets."""

import json
from pathlib import Path

import msgspec
import pytest

from silkline.config import EngineSettings
from silkline.engines.machine import this_machine
from silkline.errors import ConfigError
from silkline.models.bundle import load_bundle
from silkline.models.gate import Verdict
from silkline.models.resolve import BUNDLED_MODEL, bundled_folder
from silkline.service.model import ModelFiles, prepare_model
from tests.cli.test_main import run
from tests.engines.managed.models import GGUF_MODEL, GGUF_PROJECTOR, gguf
from tests.models.gates import gated, make_bundle
from tests.models.samples import LLAVA_15_7B, SMOLVLM_500M, save, save_whole


def settings(model: object, tmp_path: Path) -> EngineSettings:
    return EngineSettings(model=str(model), export_store=str(tmp_path / "store"))


def ignored(_: str) -> None:
    pass


def test_a_bundle_is_served_as_it_is(tmp_path: Path) -> None:
    files = prepare_model(settings(BUNDLED_MODEL, tmp_path), "openvino", {}, ignored)
    weights = load_bundle(bundled_folder()).manifest.engines["openvino"]
    assert files == ModelFiles(bundled_folder(), "", "", tuning=weights)
    assert not (tmp_path / "store").exists()


def test_the_users_options_come_before_the_bundles(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "bundle")
    manifest = json.loads((folder / "bundle.json").read_text())
    name, entry = next(iter(manifest["engines"].items()))
    entry |= {"options": {"attention": "eager", "dtype": "float32"}, "threads": 3}
    (folder / "bundle.json").write_text(json.dumps(manifest))
    wanted = settings(folder, tmp_path).model_copy(update={"engine_options": {"dtype": "auto"}})
    files = prepare_model(wanted, name, {}, ignored)
    assert files.options(wanted) == {"attention": "eager", "dtype": "auto"}
    assert (files.threads(0), files.threads(1)) == (3, 1)


def test_other_engines_get_the_folder_with_a_name_and_a_revision_of_its_content(
    tmp_path: Path,
) -> None:
    folder = save_whole(tmp_path / "My LLaVA", LLAVA_15_7B)
    first = prepare_model(settings(folder, tmp_path), "torch", {}, ignored)
    assert (first.folder, first.name) == (folder, "My-LLaVA-ff0cfc3b")
    assert len(first.revision) == 12
    (folder / "chat_template.jinja").write_text("{{ messages[0]['content'] }}!")
    second = prepare_model(settings(folder, tmp_path), "torch", {}, ignored)
    assert second.revision != first.revision


def test_a_model_of_the_hub_has_its_commit_as_revision(tmp_path: Path) -> None:
    repository, commit = tmp_path / "hub" / "models--org--name", "c" * 40
    folder = save_whole(repository / "snapshots" / commit, SMOLVLM_500M)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    places = {"HF_HUB_CACHE": str(tmp_path / "hub")}
    files = prepare_model(settings("org/name", tmp_path), "torch", places, ignored)
    assert files == ModelFiles(folder, "name", "c" * 12)


def test_files_of_llama_cpp_are_a_model_without_a_config(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model-Q8_0.gguf").write_bytes(gguf(GGUF_MODEL))
    (folder / "mmproj-model.gguf").write_bytes(gguf(GGUF_PROJECTOR))
    files = prepare_model(settings(folder, tmp_path), "llamacpp", {}, ignored)
    assert (files.folder, files.name) == (folder, "model")


def test_what_openvino_does_not_know_is_refused_at_once(tmp_path: Path) -> None:
    folder = save(tmp_path / "smol", SMOLVLM_500M)
    with pytest.raises(ConfigError, match="no model_type idefics3; use the engine torch"):
        prepare_model(settings(folder, tmp_path), "openvino", {}, pytest.fail)


@pytest.mark.slow
def test_the_model_may_be_the_first_argument(tmp_path: Path) -> None:
    folder = save(tmp_path / "smol", SMOLVLM_500M)
    for command in (("up",), ("describe",)):
        rest = ("a.jpg",) if command == ("describe",) else ()
        result = run(*command, str(folder), *rest, "--engine", "openvino")
        assert result.returncode == 2
        assert f"The engine openvino cannot serve {folder}: " in result.stderr
        assert "no model_type idefics3; use the engine torch" in result.stderr


def test_two_models_are_one_too_many() -> None:
    result = run("up", "one", "--model", "another")
    assert result.returncode == 2
    assert "MODEL is one, but --model is another" in result.stderr


@pytest.mark.slow
def test_pictures_are_no_models() -> None:
    """They look like hub ids when they are not there."""
    result = run("describe", "photos/a.jpg", "photos/b.jpg", "--engine", "fake")
    assert result.returncode == 1
    assert result.stderr.count("The picture cannot be read") == 2


def test_a_bundle_that_was_gated_on_another_processor(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = make_bundle(tmp_path / "tiny")
    wanted = settings(bundle, tmp_path)
    gated(bundle, machine=this_machine())
    prepare_model(wanted, "openvino", {}, ignored)
    assert not caplog.records
    gated(bundle, machine=msgspec.structs.replace(this_machine(), instruction_set="AVX-9"))
    assert prepare_model(wanted, "openvino", {}, ignored).folder == bundle
    assert "The bundle tiny was gated on AVX-9" in caplog.text
    strict = wanted.model_copy(update={"gated_elsewhere": "refuse"})
    with pytest.raises(ConfigError, match="Run silkline gate here"):
        prepare_model(strict, "openvino", {}, ignored)
    ungated = strict.model_copy(update={"ungated": True})
    assert prepare_model(ungated, "openvino", {}, ignored).folder == bundle


def test_a_bundle_that_was_gated_with_other_engine_options(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = make_bundle(tmp_path / "tiny")
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    gated(bundle, machine=this_machine(), options=options)
    wanted = settings(bundle, tmp_path).model_copy(update={"engine_options": options})
    prepare_model(wanted, "openvino", {}, ignored)
    assert not caplog.records
    other = wanted.model_copy(update={"engine_options": {}})
    prepare_model(other, "openvino", {}, ignored)
    assert "gated with the options INFERENCE_PRECISION_HINT=f32, and is served with none" in (
        caplog.text
    )
    strict = other.model_copy(update={"gated_elsewhere": "refuse"})
    with pytest.raises(ConfigError, match="where its answers may differ"):
        prepare_model(strict, "openvino", {}, ignored)


def test_a_bundle_that_was_refused(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "tiny")
    gated(bundle, Verdict.REFUSED)
    wanted = settings(bundle, tmp_path)
    with pytest.raises(ConfigError, match="verdict on the bundle tiny is refused"):
        prepare_model(wanted, "openvino", {}, ignored)
    ungated = wanted.model_copy(update={"ungated": True})
    assert prepare_model(ungated, "openvino", {}, ignored).folder == bundle
