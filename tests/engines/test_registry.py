"""Engines by name."""

import sys
from pathlib import Path

import pytest

from silkline.engines.base import EngineOptions
from silkline.engines.registry import create_engine, engine_names, pick_engine
from silkline.errors import ConfigError, EnvironmentFault


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
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, installed: set[str], cuda: bool, engine: str
) -> None:
    driver = tmp_path / "version"
    if cuda:
        driver.touch()
    monkeypatch.setattr("silkline.engines.registry._NVIDIA_DRIVER", driver)
    monkeypatch.setattr(
        "silkline.engines.registry.find_spec", lambda name: name if name in installed else None
    )
    assert pick_engine() == engine


def test_auto_without_an_engine_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("silkline.engines.registry.find_spec", lambda name: None)
    with pytest.raises(EnvironmentFault, match="pip install"):
        pick_engine()
