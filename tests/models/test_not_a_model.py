"""What is told of a path that is no model's folder."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from silkline.errors import ConfigError, EnvironmentFault
from silkline.models.resolve import locate_model
from tests.models.damage import pointer
from tests.models.samples import LLAVA_15_7B, save, save_whole


def told(model: str, cache: Path) -> str:
    with pytest.raises(ConfigError) as refused:
        locate_model(model, {"HF_HUB_CACHE": str(cache)})
    assert "hub id" not in refused.value.message or "/" not in model
    assert "hf download " + model not in refused.value.message
    return refused.value.message


@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "tokenizer.json", "preprocessor_config.json"]
)
@pytest.mark.parametrize("form", ["{}", "./{}", "here/{}", "link"])
def test_a_file_of_a_model_is_told_with_the_command_for_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, form: str
) -> None:
    folder = save_whole(tmp_path / "here", LLAVA_15_7B)
    monkeypatch.chdir(tmp_path if form.startswith("here") else folder)
    if form == "link":
        (folder / "link").symlink_to(folder / name)
    said = told(form.format(name), tmp_path)
    assert "is a file. A model is named by its folder. Run: silkline up --model " in said
    assert said.endswith("here" if form.startswith("here") else " .")


@pytest.mark.parametrize("model", ["folder/model.gguf", "./folder/model.gguf", "folder/M.GGUF"])
def test_a_gguf_file_is_told_with_the_engine_that_serves_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / model).write_bytes(b"GGUF")
    said = told(model, tmp_path)
    assert "silkline up --engine llamacpp --model folder --engine-options file=" in said
    assert said.endswith(f"file={Path(model).name}")
    assert "mmproj*.gguf" in said


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("llava.zip", "is an archive"),
        ("llava.tar.gz", "is an archive"),
        ("notes.txt", "is a file, and its folder has no config.json"),
        ("model.onnx", "is a file, and its folder has no config.json"),
    ],
)
def test_other_files_are_told(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    assert said in told(str(tmp_path / name), tmp_path)


@pytest.mark.parametrize(
    "model",
    [
        "./x", "../x", "/x/y", "x/y/z", "~/no such model", "x\\y", "C:\\models\\x", "x/", ".\\x",
        "folder/model.gguf", "folder/model.safetensors", "x/config.json", "models/llava",
    ],
)  # fmt: skip
def test_a_path_at_which_nothing_is_is_no_hub_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    assert told(model, tmp_path).startswith(f"There is no file or folder {model}.")


def test_a_folder_of_that_organisation_hides_no_model_of_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org").mkdir()
    repository = tmp_path / "hub" / "models--org--name"
    save(repository / "snapshots" / ("c" * 40), LLAVA_15_7B)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("c" * 40)
    assert locate_model("org/name", {"HF_HUB_CACHE": str(tmp_path / "hub")}).kind == "hub"


def test_a_hub_id_is_still_one(tmp_path: Path) -> None:
    for model in ("org/name", "org/name@pr/7", "Org.X/Qwen2.5-VL_7B"):
        with pytest.raises(EnvironmentFault, match="hf download"):
            locate_model(model, {"HF_HUB_CACHE": str(tmp_path)})


def test_a_near_name_is_told(tmp_path: Path) -> None:
    save_whole(tmp_path / "llava-1.5", LLAVA_15_7B)
    assert f"Did you mean {tmp_path}/llava-1.5?" in told(f"{tmp_path}/lava-1.5", tmp_path)


def test_a_broken_link_is_told(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("gone")
    assert "is a link to gone, which does not exist" in told(str(tmp_path / "link"), tmp_path)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://huggingface.co/org/name/tree/main", "hf download org/name"),
        ("https://example.com/model.zip", "downloads no models"),
        ("s3://bucket/model", "downloads no models"),
    ],
)
def test_a_url_is_told(tmp_path: Path, url: str, said: str) -> None:
    assert said in told(url, tmp_path)


@pytest.mark.parametrize("model", ["", " "])
def test_no_name_at_all_is_told(tmp_path: Path, model: str) -> None:
    assert told(model, tmp_path).startswith("No model is named")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "is empty"),
        ({"inner/config.json": b"{}"}, "inner does. Use that folder."),
        ({"snapshots/abc/config.json": b"{}"}, "snapshots/abc does. Use that folder."),
        ({"model_index.json": b"{}"}, "a pipeline of diffusers"),
        ({"model.safetensors": b""}, "weights (model.safetensors) without the config.json"),
        ({"weights.npz": b""}, "weights (weights.npz) without the config.json"),
        ({"readme.txt": b""}, "holds no model, but readme.txt"),
    ],
)
def test_folders_without_a_model_are_told(
    tmp_path: Path, files: dict[str, bytes], said: str
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    assert said in told(str(folder), tmp_path)


@pytest.mark.parametrize("base", ["org/base-7b", "/home/x/base", "it's; rm -rf ~", None])
def test_an_adapter_names_its_base_and_how_to_merge_it(tmp_path: Path, base: str | None) -> None:
    config = {"peft_type": "LORA", "base_model_name_or_path": base}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    (tmp_path / "adapter_model.safetensors").write_bytes(pointer(10**6))
    said = told(str(tmp_path), tmp_path)
    assert "holds no model" not in said
    assert "silkline merge " in said
    assert (f"for {base}," if base else "does not name one") in said
    assert ("--base BASE --out MERGED && silkline up MERGED" in said) == (base is None)


def test_an_adapter_of_the_hub_is_told(tmp_path: Path) -> None:
    repository = tmp_path / "models--org--name"
    config = {"adapter_config.json": {"base_model_name_or_path": "org/base"}}
    save(repository / "snapshots" / ("c" * 40), config)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("c" * 40)
    assert "adapter (LoRA) for org/base" in told("org/name", tmp_path)


def test_an_adapter_beside_a_whole_model_is_passed_over(tmp_path: Path) -> None:
    folder = save_whole(tmp_path / "model", LLAVA_15_7B | {"adapter_config.json": {}})
    assert locate_model(os.fspath(folder), {}).folder == folder
