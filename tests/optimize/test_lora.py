"""A LoRA adapter merged into its base: the weights are W + s B A, everything else is the base's."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from silkline.cli.main import silkline
from silkline.errors import ConfigError, EnvironmentFault
from silkline.models.resolve import bundled_folder
from silkline.optimize.lora import Merged, merge_adapter

LAYER = "language_model.model.layers.0.self_attn.q_proj"
TRAINED = "base_model.model.model.language_model.layers.0.self_attn.q_proj"
"""The same layer as transformers' class names it."""

CONFIG = {"peft_type": "LORA", "base_model_name_or_path": "silkline-mini", "r": 4, "lora_alpha": 8}


def base_weights() -> dict[str, Any]:
    return load_file(bundled_folder() / "model.safetensors")


def write_adapter(
    folder: Path, config: Mapping[str, Any] = CONFIG, tensors: Mapping[str, Any] | None = None
) -> Path:
    if tensors is None:
        rows, columns = base_weights()[f"{LAYER}.weight"].shape
        torch.manual_seed(1)
        tensors = {
            f"{TRAINED}.lora_A.weight": torch.randn(4, columns),
            f"{TRAINED}.lora_B.weight": torch.randn(rows, 4),
        }
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps(config))
    save_file(dict(tensors), folder / "adapter_model.safetensors")
    return folder


@pytest.mark.parametrize(
    ("options", "scale"),
    [
        ({}, 2.0),
        ({"use_rslora": True}, 8 / math.sqrt(4)),
        ({"alpha_pattern": {"q_proj": 1}}, 0.25),
        ({"alpha_pattern": {"k_proj": 1}}, 2.0),
        ({"alpha_pattern": {"layers.0.self_attn.q_proj": 12}}, 3.0),
    ],
)
def test_the_product_is_added_and_nothing_else_changes(
    tmp_path: Path, options: dict[str, Any], scale: float
) -> None:
    adapter = write_adapter(tmp_path / "adapter", CONFIG | options)
    target = tmp_path / "merged"
    assert merge_adapter(adapter, target, {}) == Merged("silkline-mini", 1, 0)
    before, after = base_weights(), load_file(target / "model.safetensors")
    own = load_file(adapter / "adapter_model.safetensors")
    down, up = own[f"{TRAINED}.lora_A.weight"], own[f"{TRAINED}.lora_B.weight"]
    changed = before.pop(f"{LAYER}.weight")
    expected = (changed.float() + scale * up @ down).to(changed.dtype)
    torch.testing.assert_close(after.pop(f"{LAYER}.weight"), expected, rtol=1e-3, atol=1e-3)
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_the_merged_folder_is_a_model_without_the_bundles_record(tmp_path: Path) -> None:
    target = tmp_path / "merged"
    merge_adapter(write_adapter(tmp_path / "adapter"), target, {})
    found = CliRunner().invoke(silkline, ["inspect", str(target)])
    assert found.exit_code == 0
    assert "torch" in found.stdout
    assert not (target / "bundle.json").exists()
    assert (target / "tokenizer.json").read_bytes() == (
        bundled_folder() / "tokenizer.json"
    ).read_bytes()


def test_a_layer_that_was_trained_whole_replaces_the_bases(tmp_path: Path) -> None:
    name = "multi_modal_projector.linear_1.weight"
    trained = torch.full_like(base_weights()[name], 0.5, dtype=torch.float32)
    adapter = write_adapter(
        tmp_path / "adapter", tensors={f"base_model.model.model.{name}": trained}
    )
    assert merge_adapter(adapter, tmp_path / "merged", {}) == Merged("silkline-mini", 0, 1)
    assert (load_file(tmp_path / "merged" / "model.safetensors")[name] == 0.5).all()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"peft_type": "IA3"}, "only LoRA"),
        ({"use_dora": True}, "use_dora"),
        ({"bias": "all"}, "bias"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out"),
        ({"lora_alpha": None}, "lora_alpha"),
        ({"alpha_pattern": {"(a+)+b": 1}}, "alpha_pattern"),
        ({"base_model_name_or_path": None}, "--base"),
        ({"base_model_name_or_path": "/of/the/trainer"}, "--base"),
    ],
)
def test_what_it_cannot_merge_is_refused_by_name(
    tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    adapter = write_adapter(tmp_path / "adapter", CONFIG | options)
    with pytest.raises(ConfigError, match=said):
        merge_adapter(adapter, tmp_path / "merged", {})
    assert {path.name for path in tmp_path.iterdir()} == {"adapter"}


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({f"{TRAINED}.lora_A.weight": (4, 8)}, "without its lora_B"),
        (
            {f"{TRAINED}.lora_A.weight": (4, 8), f"{TRAINED}.lora_B.weight": (7, 4)},
            "where the base model has",
        ),
        ({"base_model.model.other.weight": (2, 2)}, "no tensor"),
        ({f"{TRAINED}.lora_embedding_A": (4, 8)}, "only linear layers"),
    ],
)
def test_tensors_that_do_not_fit_are_named(
    tmp_path: Path, tensors: dict[str, tuple[int, ...]], said: str
) -> None:
    made = {name: torch.zeros(shape) for name, shape in tensors.items()}
    adapter = write_adapter(tmp_path / "adapter", tensors=made)
    with pytest.raises(ConfigError, match=said):
        merge_adapter(adapter, tmp_path / "merged", {})


def test_an_adapter_without_its_file_or_with_a_damaged_one_is_told(tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter")
    weights = adapter / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(ConfigError, match=r"adapter_model\.safetensors"):
        merge_adapter(adapter, tmp_path / "merged", {})
    weights.unlink()
    with pytest.raises(ConfigError, match=r"has no adapter_model\.safetensors"):
        merge_adapter(adapter, tmp_path / "merged", {})
    with pytest.raises(ConfigError, match="holds no adapter"):
        merge_adapter(tmp_path, tmp_path / "merged", {})


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", full)
    adapter = write_adapter(tmp_path / "adapter")
    with pytest.raises(EnvironmentFault, match="No space left"):
        merge_adapter(adapter, tmp_path / "merged", {})
    assert {path.name for path in tmp_path.iterdir()} == {"adapter"}


def test_the_command_says_how_to_serve_it(tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter")
    done = CliRunner().invoke(silkline, ["merge", str(adapter), "-o", str(tmp_path / "merged")])
    assert done.exit_code == 0
    assert f"silkline up {tmp_path / 'merged'}" in done.stdout
