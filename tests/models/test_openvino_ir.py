"""OpenVINO IR that is not whole."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from silkline.engines.registry import check_engine
from silkline.errors import ConfigError
from silkline.models.resolve import bundled_folder, locate_model
from tests.models.damage import cut, pointer, with_file, without


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The bundled model's IR, without its manifest."""
    made = shutil.copytree(bundled_folder() / "openvino", tmp_path / "ir")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(bundled_folder() / name, made)
    return made


def refusal(folder: Path) -> str | None:
    try:
        check_engine(locate_model(str(folder), {}), "openvino")
    except ConfigError as error:
        return error.message
    return None


def test_whole_ir_is_served_as_it_is(folder: Path) -> None:
    assert refusal(folder) is None
    without("chat_template.jinja", "generation_config.json")(folder)  # the graph has the template
    assert refusal(folder) is None


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (without("openvino_tokenizer.xml"), "openvino_tokenizer.xml"),
        (without("openvino_vision_embeddings_model.bin"), "openvino_vision_embeddings_model.bin"),
        (cut("openvino_language_model.bin", 0.9), "1.27 MB of 1.41 MB are here"),
        (cut("openvino_language_model.xml", 0.9), "openvino_language_model.xml is cut off"),
        (with_file("openvino_detokenizer.xml", b""), "openvino_detokenizer.xml is empty"),
        (
            with_file("openvino_text_embeddings_model.bin", pointer(2 * 10**9)),
            "openvino_text_embeddings_model.bin is a Git LFS pointer: the file itself, of 2.00 GB",
        ),
        (without("preprocessor_config.json"), "no preprocessor_config.json"),
        (without("tokenizer.json", "tokenizer_config.json"), "lists the model's special tokens"),
    ],
)
def test_what_it_lacks_is_told(folder: Path, harm: Callable[[Path], None], said: str) -> None:
    harm(folder)
    assert said in (refusal(folder) or "")
