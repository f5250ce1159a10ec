"""Engines by name."""

import sys

import pytest

from silkline.engines.base import EngineOptions
from silkline.engines.registry import create_engine, engine_names, pick_engine
from silkline.errors import ConfigError, EnvironmentFault


def test_the_built_in_engines_are_registered() -> None:
    assert {"fake", "openvino"} <= set(engine_names())


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


def test_auto_is_an_engine_that_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("silkline.engines.registry.find_spec", lambda name: object())
    assert pick_engine() == "openvino"
    monkeypatch.setattr("silkline.engines.registry.find_spec", lambda name: None)
    with pytest.raises(EnvironmentFault, match="pip install"):
        pick_engine()
