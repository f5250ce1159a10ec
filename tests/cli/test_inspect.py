import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from silkline.cli.main import silkline
from silkline.errors import ConfigError, EnvironmentFault, exit_code
from tests.models.samples import LLAVA_15_7B, QWEN2_VL_7B, SMOLVLM_500M, save, save_tensors


def inspect(*arguments: str, **environment: str) -> Result:
    return CliRunner(env=environment).invoke(silkline, ["inspect", *arguments])


def as_json(*arguments: str) -> dict[str, Any]:
    result = inspect("--json", *arguments)
    assert result.exit_code == 0
    found: dict[str, Any] = json.loads(result.output)
    return found


def test_the_bundled_model_is_told_in_a_table() -> None:
    result = inspect("silkline-mini", COLUMNS="100")
    assert result.exit_code == 0
    lines = [" ".join(line.split()) for line in result.output.splitlines()]
    assert "family LLaVA-1.5 (llava; LlavaForConditionalGeneration)" in lines
    assert "parameters 4.23 million" in lines
    assert "context 1024 tokens, answers up to 128" in lines
    assert "tokens a picture 64, the same for every picture" in lines
    assert "engines openvino: yes; silkline up --model silkline-mini" in lines


def test_the_tokens_of_a_picture_are_told(tmp_path: Path) -> None:
    found = as_json(str(save(tmp_path, QWEN2_VL_7B)), "--picture", "1300x876", "--picture", "28X28")
    assert found["image_tokens"]["pictures"] == [
        {"width": 1300, "height": 876, "features": 1426, "markers": 2, "total": 1428},
        {"width": 28, "height": 28, "features": 4, "markers": 2, "total": 6},
    ]


def test_markers_and_refusals_stand_in_the_table(tmp_path: Path) -> None:
    output = inspect(str(save(tmp_path, SMOLVLM_500M)), "--picture", "1024x768").output
    assert "862 (30 of them markers)" in output
    output = inspect(str(save(tmp_path, QWEN2_VL_7B)), "--picture", "1x999", COLUMNS="200").output
    assert "this model takes none whose longer side" in output


@pytest.mark.parametrize("size", ["1024", "0x10", "1024x", "x", "-1x5", "1e3x5", "9999999x1"])
def test_a_size_that_is_none_is_a_usage_error(size: str) -> None:
    result = inspect("silkline-mini", f"--picture={size}")
    assert result.exit_code == 2
    assert "is not a size in pixels such as 1024x768" in result.output


def test_a_text_that_is_no_model_is_a_usage_error() -> None:
    error = inspect("/no/such/model").exception
    assert isinstance(error, ConfigError)
    assert exit_code(error) == 2


def test_a_model_that_is_not_in_the_cache_is_the_machine_s_lack(tmp_path: Path) -> None:
    error = inspect("org/name@v2", HF_HUB_CACHE=str(tmp_path)).exception
    assert isinstance(error, EnvironmentFault)
    assert exit_code(error) == 4
    assert str(tmp_path) in error.message
    assert error.remedy == "hf download org/name --revision v2"


def test_a_missing_shard_is_told(tmp_path: Path) -> None:
    save(tmp_path, LLAVA_15_7B)
    weight_map = {"a": "model-1.safetensors", "b": "model-2.safetensors"}
    index = {"metadata": {"total_size": 14_126_854_144}, "weight_map": weight_map}
    save(tmp_path, {"model.safetensors.index.json": index})
    save_tensors(tmp_path / "model-1.safetensors", {"vision_tower.a": ("F16", [4])})
    output = inspect(str(tmp_path), COLUMNS="120").output
    assert "1 file of 14.13 GB, such as model-2.safetensors" in output
    assert "parameters" not in output.partition("notes")[0]


def test_what_a_file_says_is_not_markup(tmp_path: Path) -> None:
    config = LLAVA_15_7B["config.json"] | {"architectures": ["[red]x[/red]"]}
    output = inspect(str(save(tmp_path, {"config.json": config})), COLUMNS="120").output
    assert "[red]x[/red]" in output
