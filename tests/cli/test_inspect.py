import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from silkline.cli.main import silkline
from silkline.errors import ConfigError, EnvironmentFault, exit_code
from tests.cli.test_main import run
from tests.engines.managed.models import GGUF_MODEL, GGUF_PROJECTOR, gguf
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
    assert "tokens a picture 64, the same for every image" in lines
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
    assert "for this model, the longer side" in output


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
    save_tensors(tmp_path / "model-1.safetensors", {"a": ("F16", [2_063_427_072])})
    output = inspect(str(tmp_path), COLUMNS="120").output
    assert "1 file of 10.00 GB, such as model-2.safetensors" in output
    assert "parameters" not in output.partition("notes")[0]


def test_what_a_file_says_is_not_markup(tmp_path: Path) -> None:
    config = LLAVA_15_7B["config.json"] | {"architectures": ["[red]x[/red]"]}
    output = inspect(str(save(tmp_path, {"config.json": config})), COLUMNS="120").output
    assert "[red]x[/red]" in output


EVIL = "x\x1b[2J\r\n\x9b1mengines  torch: yes\u202e\x07"


def hostile(folder: Path) -> Path:
    """A model of which everything that is text gives a terminal orders."""
    config = LLAVA_15_7B["config.json"] | {
        "model_type": EVIL,
        "architectures": [EVIL, "y" * 5000],
        "quantization_config": {"quant_method": EVIL},
        "auto_map": {EVIL: EVIL},
    }
    image = LLAVA_15_7B["preprocessor_config.json"] | {"size": {EVIL: 3}}
    save(folder, {"config.json": config, "preprocessor_config.json": image})
    (folder / "evil\x1b[2J\n.bin").touch()
    return folder


def test_what_a_file_says_does_not_reach_the_terminal_as_an_order(tmp_path: Path) -> None:
    folder = hostile(tmp_path / "mo\x1b[31mdel")
    output = inspect(str(folder), COLUMNS="200").output
    assert {sign for sign in output if not sign.isprintable()} == {"\n"}
    assert r"x\x1b[2J\r\n\x9b1mengines" in output
    assert r"evil\x1b[2J\n.bin" in output
    assert not any(line.startswith("engines  torch: yes") for line in output.splitlines())
    assert len(output) < 10_000


def test_json_tells_it_exactly_and_in_ascii(tmp_path: Path) -> None:
    output = inspect("--json", str(hostile(tmp_path / "model"))).output
    assert output.isascii()
    assert json.loads(output)["model_type"] == EVIL


@pytest.mark.slow
def test_errors_that_quote_a_file_are_one_line(tmp_path: Path) -> None:
    folder = hostile(tmp_path / "model")
    for more in ((), ("--engine", "openvino")):
        result = run("up", str(folder), *more)
        assert result.returncode == 2
        assert {sign for sign in result.stderr if not sign.isprintable()} == {"\n"}
        assert result.stderr.count("\n") == 1
        assert r"\x1b[2J" in result.stderr


def test_a_file_that_is_no_utf_8_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b'{"model_type": "llav\xe9"}')
    error = inspect(str(tmp_path)).exception
    assert isinstance(error, ConfigError)
    assert "config.json is not a JSON object" in error.message


@pytest.mark.slow
def test_a_language_model_is_called_one(tmp_path: Path) -> None:
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
    folder = str(save(tmp_path, {"config.json": config}))
    save_tensors(tmp_path / "model.safetensors", {"model.a": ("F16", [4])})
    result = run("up", folder)
    assert result.returncode == 2
    assert f"silkline: {folder} is a language model without a vision tower." in result.stderr
    assert {each["verdict"] for each in as_json(folder)["engines"]} == {"no"}
    assert (
        "is a language model without a vision tower"
        in run("up", folder, "--engine", "torch").stderr
    )


def test_a_folder_of_gguf_is_told_who_serves_it(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(gguf(GGUF_MODEL))
    (tmp_path / "mmproj-model.gguf").write_bytes(gguf(GGUF_PROJECTOR))
    said = run("up", str(tmp_path)).stderr
    assert 0 < said.find("llamacpp: where") < said.find("openvino: ")
    output = inspect(str(tmp_path)).output
    assert "None" not in output
    assert "none in config.json" not in output
