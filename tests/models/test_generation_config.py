"""The sampling parameters in generation_config.json."""

import json
from pathlib import Path
from typing import Any

import pytest

from silkline.errors import ConfigError
from silkline.models.generation_config import read_sampling_defaults

QWEN = {
    "do_sample": True,
    "temperature": 0.01,
    "top_p": 0.001,
    "top_k": 1,
    "repetition_penalty": 1.05,
    "eos_token_id": [151645, 151643],
}


def read(folder: Path, content: Any) -> dict[str, float]:
    (folder / "generation_config.json").write_text(json.dumps(content))
    return dict(read_sampling_defaults(folder / "missing", folder))


def test_the_parameters_of_a_published_model(tmp_path: Path) -> None:
    assert read(tmp_path, QWEN) == {
        "temperature": 0.01,
        "top_p": 0.001,
        "top_k": 1,
        "repetition_penalty": 1.05,
    }


@pytest.mark.parametrize("samples", [False, None])
def test_without_do_sample_only_the_penalty_applies(tmp_path: Path, samples: bool | None) -> None:
    assert read(tmp_path, {**QWEN, "do_sample": samples}) == {"repetition_penalty": 1.05}


def test_sampling_without_a_temperature_has_that_of_transformers(tmp_path: Path) -> None:
    assert read(tmp_path, {"do_sample": True, "min_p": 0.1}) == {"temperature": 1.0, "min_p": 0.1}


@pytest.mark.parametrize(
    ("name", "value"),
    [("top_p", 0), ("top_p", 1.5), ("top_k", -1), ("min_p", 2), ("repetition_penalty", 1e-5)],
)
def test_values_out_of_range_are_left_out(tmp_path: Path, name: str, value: float) -> None:
    found = read(tmp_path, {"do_sample": True, "temperature": 0.5, name: value})
    assert found == {"temperature": 0.5}


def test_no_file_says_nothing_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    assert read_sampling_defaults(tmp_path) == ()
    with pytest.raises(ConfigError, match=r"generation_config\.json"):
        read(tmp_path, {"do_sample": "yes"})
    with pytest.raises(ConfigError, match=r"generation_config\.json"):
        read(tmp_path, {"do_sample": True, "temperature": "hot"})
