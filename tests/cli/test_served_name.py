"""Under which name a model is served."""

from __future__ import annotations

import json
import shutil
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from silkline.cli.main import silkline
from silkline.config import EngineSettings
from silkline.errors import ConfigError
from silkline.models.resolve import BUNDLED_MODEL, bundled_folder
from silkline.service.model import prepare_model
from tests.models.samples import LLAVA_15_7B, save_whole
from tests.serving import served


def name_of(folder: Path, tmp_path: Path, **more: str) -> str:
    wanted = EngineSettings(model=str(folder), export_store=str(tmp_path / "store"), **more)
    return prepare_model(wanted, "torch", {}, lambda _: None).name


def fetched(url: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(url) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.mark.parametrize("name", ["llava-1.5-7b-hf", "Qwen2.5-VL_7B", "7b", "a" * 100])
def test_a_name_that_a_header_can_carry_stays_as_it_is(tmp_path: Path, name: str) -> None:
    assert name_of(save_whole(tmp_path / name, LLAVA_15_7B), tmp_path) == name


@pytest.mark.parametrize(
    ("name", "readable"),
    [
        ("通义千问-VL", "TongYiQianWen-VL-"),
        ("Модель", "Model-"),
        ("модель", "model-"),
        ("Modèle", "Modele-"),
        ("My LLaVA", "My-LLaVA-"),
        ("My  LLaVA", "My-LLaVA-"),
        ("日本語モデル", "RiBenYumoderu-"),
        (".hidden", "hidden-"),
        ("_", "model-"),
        ("a" * 101, "a" * 91 + "-"),
        ("a" * 100 + "b", "a" * 91 + "-"),
        ("é", "e-"),
        ("e\u0301", "e-"),
        ("\u202e", "model-"),
    ],
)
def test_other_names_are_transliterated_and_unique(
    tmp_path: Path, name: str, readable: str
) -> None:
    made = name_of(save_whole(tmp_path / name, LLAVA_15_7B), tmp_path)
    assert made.startswith(readable)
    assert made.isascii()
    assert len(made) <= 100
    other = name_of(save_whole(tmp_path / f"{name[:80]}!", LLAVA_15_7B), tmp_path)
    assert other != made


def test_the_setting_names_any_model(tmp_path: Path) -> None:
    folder = save_whole(tmp_path / "Модель", LLAVA_15_7B)
    assert name_of(folder, tmp_path, served_name="org/my-model:7b") == "org/my-model:7b"
    wanted = EngineSettings(served_name="mini", export_store=str(tmp_path / "store"))
    assert prepare_model(wanted, "openvino", {}, lambda _: None).name == "mini"


@pytest.mark.parametrize("name", ["Модель", "a b", "-x", "x" * 101, "a@b", "a\nb"])
def test_a_name_that_a_header_cannot_carry_is_refused(name: str) -> None:
    error = CliRunner().invoke(silkline, ["up", "--served-name", name]).exception
    assert isinstance(error, ConfigError)
    assert "served" in error.message


@pytest.mark.slow
def test_a_remote_model_has_the_name_that_was_set() -> None:
    with (
        served("--engine", "fake", "--served-name", "inner") as inner,
        served("--remotes", inner.url, "--served-name", "org/outer") as outer,
    ):
        assert fetched(f"{outer.url}/v1/models")[1]["data"][0]["id"] == "org/outer"
        assert fetched(f"{outer.url}/v1/models/inner")[0] == 404
        body = b'{"model": "org/outer", "messages": [{"role": "user", "content": "hi"}]}'
        url, headers = f"{outer.url}/v1/chat/completions", {"content-type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as answer:
            assert answer.headers["x-silkline-model"].startswith("org/outer@")
            assert json.load(answer)["model"] == "org/outer"


@pytest.mark.slow
def test_clients_ask_for_the_name_that_was_set() -> None:
    with served("--engine", "fake", "--served-name", "org/my-model") as server:
        assert fetched(f"{server.url}/v1/models")[1]["data"][0]["id"] == "org/my-model"
        assert fetched(f"{server.url}/v1/models/org/my-model")[0] == 200
        status, error = fetched(f"{server.url}/v1/models/silkline-fake")
        assert (status, error["error"]["code"]) == (404, "model_not_found")


@pytest.mark.slow
def test_clients_may_ask_for_a_folder_as_its_user_calls_it(tmp_path: Path) -> None:
    shutil.copytree(bundled_folder(), tmp_path / "Модель")
    with served("--engine", "openvino", "--model", "./Модель", folder=tmp_path) as server:
        for name in (BUNDLED_MODEL, "%D0%9C%D0%BE%D0%B4%D0%B5%D0%BB%D1%8C"):
            status, model = fetched(f"{server.url}/v1/models/{name}")
            assert (status, model["id"]) == (200, BUNDLED_MODEL)
        assert fetched(f"{server.url}/v1/models/other")[0] == 404
