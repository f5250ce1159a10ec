"""Engines by name."""

import json
import shutil
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from silkline import __version__
from silkline.engines.base import EngineOptions
from silkline.engines.registry import (
    Choice,
    create_engine,
    engine_names,
    library_versions,
    pick_engine,
)
from silkline.errors import ConfigError, EnvironmentFault
from silkline.models.resolve import BUNDLED_MODEL, ModelLocation, bundled_folder, locate_model
from tests.models.samples import LLAVA_15_7B, SMOLVLM_500M, save_export, save_whole


def test_the_built_in_engines_are_registered() -> None:
    assert {"fake", "openvino", "remote", "torch"} <= set(engine_names())


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean openvino"):
        create_engine("openvno", EngineOptions())
    with pytest.raises(ConfigError, match="Known are: fake"):
        create_engine("zzz", EngineOptions())


def test_a_missing_library_comes_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "silkline.engines.openvino.engine", raising=False)
    for name in ("openvino", "openvino_genai"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(EnvironmentFault) as caught:
        create_engine("openvino", EngineOptions())
    assert caught.value.remedy == 'pip install "silkline[openvino]"'


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Makes a machine that has these libraries."""

    def has(*libraries: str, cuda: bool = False) -> None:
        driver = Path(__file__) if cuda else tmp_path / "none"
        monkeypatch.setattr("silkline.engines.accelerators.NVIDIA_DRIVER", driver)
        monkeypatch.setattr(
            "silkline.engines.registry.find_spec",
            lambda name: name if name in libraries else None,
        )

    return has


@pytest.mark.parametrize(
    ("installed", "cuda", "engine"),
    [
        ({"openvino_genai", "torch", "vllm"}, True, "vllm"),
        ({"openvino_genai", "torch"}, True, "torch"),
        ({"openvino_genai", "torch", "vllm"}, False, "openvino"),
        ({"openvino_genai"}, True, "openvino"),
        ({"torch"}, False, "torch"),
    ],
)
def test_auto_is_the_best_that_is_installed(
    machine: Callable[..., None], installed: set[str], cuda: bool, engine: str
) -> None:
    machine(*installed, cuda=cuda)
    assert pick_engine(locate_model(BUNDLED_MODEL, {})).engine == engine


def model(folder: Path, files: dict[str, Any]) -> ModelLocation:
    return locate_model(str(save_whole(folder, files)), {})


def bundle(folder: Path, *engines: str) -> ModelLocation:
    """A bundle with weights for these engines only."""
    folder.mkdir()
    manifest = json.loads((bundled_folder() / "bundle.json").read_bytes())
    manifest["engines"] = {name: {"path": name, "precision": "fp16"} for name in engines}
    (folder / "bundle.json").write_text(json.dumps(manifest | {"files": {}}))
    return locate_model(str(folder), {})


def test_auto_passes_over_what_cannot_serve_the_model(
    machine: Callable[..., None], tmp_path: Path
) -> None:
    machine("openvino_genai", "torch")
    assert pick_engine(model(tmp_path / "llava", LLAVA_15_7B)) == Choice("openvino")
    choice = pick_engine(model(tmp_path / "smol", SMOLVLM_500M))
    assert choice.engine == "torch"
    assert "knows no model_type idefics3" in choice.passed_over["openvino"]
    assert choice.told().startswith("auto took torch; openvino cannot: OpenVINO GenAI's pipeline")


def test_auto_takes_what_a_bundle_has_weights_for(
    machine: Callable[..., None], tmp_path: Path
) -> None:
    machine("openvino_genai", "torch", "vllm", cuda=True)
    choice = pick_engine(bundle(tmp_path / "ir", "openvino"))
    assert choice.engine == "openvino"
    assert set(choice.passed_over) == {"vllm", "torch"}
    machine("openvino_genai", "torch")
    choice = pick_engine(bundle(tmp_path / "plain", "torch"))
    assert (choice.engine, dict(choice.passed_over)) == (
        "torch",
        {"openvino": "the bundle has no weights for it"},
    )


def test_auto_takes_an_export_whose_environment_is_made_on_demand(
    machine: Callable[..., None], tmp_path: Path
) -> None:
    place = model(tmp_path / "llava", LLAVA_15_7B)
    machine("openvino_genai", "torch")
    assert pick_engine(place) == Choice("openvino")
    machine("torch")
    assert pick_engine(place) == Choice("torch")


def test_where_no_engine_can_each_says_why(machine: Callable[..., None], tmp_path: Path) -> None:
    machine("openvino_genai", "torch", "vllm")
    config = LLAVA_15_7B["config.json"] | {"model_type": "kosmos9"}
    place = model(tmp_path / "other", LLAVA_15_7B | {"config.json": config})
    with pytest.raises(ConfigError) as refused:
        pick_engine(place)
    for said in (
        "openvino: OpenVINO GenAI's pipeline knows no model_type kosmos9",
        "torch: it has no adapter for the family kosmos9",
        "vllm: where vLLM is installed",
        "llamacpp: it loads GGUF",
        "remote: where another server can load it",
    ):
        assert said in refused.value.message


def test_what_is_wrong_for_every_engine_is_said_once(
    machine: Callable[..., None], tmp_path: Path
) -> None:
    machine("openvino_genai", "torch")
    shutil.copytree(bundled_folder(), tmp_path / "mini")
    (tmp_path / "mini" / "openvino" / "openvino_tokenizer.bin").write_bytes(b"")
    with pytest.raises(ConfigError) as refused:
        pick_engine(locate_model(str(tmp_path / "mini"), {}))
    assert refused.value.message.count("openvino/openvino_tokenizer.bin") == 1


def test_an_engine_that_could_and_is_not_installed_is_named_with_the_command(
    machine: Callable[..., None], tmp_path: Path
) -> None:
    machine("openvino_genai")
    with pytest.raises(EnvironmentFault, match="knows no model_type idefics3") as caught:
        pick_engine(model(tmp_path / "smol", SMOLVLM_500M))
    assert caught.value.remedy == 'pip install "silkline[torch]"'


def test_auto_without_an_engine_names_the_command(machine: Callable[..., None]) -> None:
    machine()
    with pytest.raises(EnvironmentFault, match="pip install"):
        pick_engine(locate_model(BUNDLED_MODEL, {}))


def test_what_is_named_to_install_is_enough(machine: Callable[..., None], tmp_path: Path) -> None:
    machine("torch")
    folder = save_export(tmp_path / "ir", LLAVA_15_7B)
    with pytest.raises(EnvironmentFault) as caught:
        pick_engine(locate_model(str(folder), {}))
    assert caught.value.remedy == 'pip install "silkline[openvino]"'


def test_the_versions_of_what_computes_are_told() -> None:
    versions = library_versions("torch")
    assert versions.pop("silkline") == __version__
    assert versions.keys() <= {
        "jinja2",
        "llguidance",
        "numpy",
        "safetensors",
        "torch",
        "transformers",
    }
    assert ("torch" in versions) is (find_spec("torch") is not None)
    assert library_versions("remote").keys() == {"silkline"}
