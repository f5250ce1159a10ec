import shlex
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from silkline.engines.registry import engine_names, judge
from silkline.models.inspection import Inspection, inspect_model
from silkline.models.resolve import BUNDLED_MODEL, bundled_folder, locate_model
from silkline.models.support import Verdict
from silkline.models.weights import Part
from tests.models.samples import (
    BESIDE,
    INTERNVL2_2B,
    INTERNVL3_1B,
    LLAVA_15_7B,
    PUBLISHED,
    SMOLVLM_500M,
    save,
    save_export,
    save_tensors,
    save_whole,
)

WEIGHTS: dict[str, tuple[str, list[int]]] = {
    "vision_tower.w": ("F16", [30]),
    "language_model.model.embed_tokens.weight": ("F16", [20]),
    "language_model.model.layers.0.w": ("F16", [10]),
}


def inspected(model: str | Path) -> Inspection:
    return inspect_model(locate_model(str(model), {}), judge)


def verdicts(found: Inspection) -> dict[str, tuple[Verdict, str]]:
    return {support.engine: (support.verdict, support.why) for support in found.engines}


def test_the_bundled_model_is_what_its_card_says() -> None:
    found = inspected(BUNDLED_MODEL)
    assert found.family == "LLaVA-1.5"
    assert found.weights.total == 4_229_568
    assert set(found.weights.parameters) == set(Part) - {Part.OTHER}
    assert found.weights.dtypes == {"F16": 4_229_568}
    assert found.context_length == 1024
    assert found.max_new_tokens == 128
    assert found.decoder is not None
    assert found.kv_bytes_per_token is not None
    assert found.kv_bytes_per_token["float16"] == 2 * 3 * 3 * 64 * 2
    assert found.notes == ()


def test_the_rule_and_the_bundle_agree_on_the_tokens_of_a_picture() -> None:
    place = locate_model(BUNDLED_MODEL, {})
    assert place.bundle is not None
    found = inspect_model(place, judge)
    assert found.image_tokens is not None
    assert {picture.total for picture in found.image_tokens.images} == {
        place.bundle.manifest.image_tokens
    }


def test_only_engines_that_exist_are_spoken_of() -> None:
    """And of those all that compute: the fake one needs no model."""
    assert {*verdicts(inspected(BUNDLED_MODEL)), "fake"} == set(engine_names())


def test_a_bundle_can_be_served_now() -> None:
    assert verdicts(inspected(BUNDLED_MODEL))["openvino"] == (
        Verdict.YES,
        "silkline up --model silkline-mini",
    )


def test_a_bundle_may_have_its_config_beside_the_weights_only(tmp_path: Path) -> None:
    mini = bundled_folder()
    (tmp_path / "openvino").mkdir()
    shutil.copy(mini / "bundle.json", tmp_path)
    for name in ("config.json", "preprocessor_config.json"):
        shutil.copy(mini / "openvino" / name, tmp_path / "openvino")
    found = inspected(tmp_path)
    assert found.family == "LLaVA-1.5"
    assert found.weights.total is None


@pytest.mark.parametrize(
    ("files", "openvino", "why"),
    [
        (LLAVA_15_7B, Verdict.YES, "(exports it once)"),
        (INTERNVL2_2B, Verdict.NO, "would run the code that comes with it"),
        (INTERNVL3_1B, Verdict.NO, "knows no model_type internvl;"),
        (SMOLVLM_500M, Verdict.NO, "knows no model_type idefics3; use the engine torch"),
    ],
)
def test_engines_say_why(
    tmp_path: Path, files: dict[str, Any], openvino: Verdict, why: str
) -> None:
    said = verdicts(inspected(save_whole(tmp_path, files)))
    assert said["openvino"][0] is openvino
    assert why in said["openvino"][1]
    assert said["remote"][0] is Verdict.ELSEWHERE
    assert "silkline up --engine remote --remotes" in said["remote"][1]


def test_pictures_that_openvino_would_read_otherwise_are_not_promised(tmp_path: Path) -> None:
    image = LLAVA_15_7B["preprocessor_config.json"] | {"do_pad": True}
    save(tmp_path, LLAVA_15_7B | {"preprocessor_config.json": image})
    (tmp_path / "openvino_language_model.xml").write_bytes(b"<net/>")
    verdict, why = verdicts(inspected(tmp_path))["openvino"]
    assert (verdict, "made square first" in why) == (Verdict.NO, True)
    save(tmp_path, {"config.json": {"model_type": "minicpmv"}})
    verdict, why = verdicts(inspected(tmp_path))["openvino"]
    assert (verdict, why) == (Verdict.NO, "how many tokens a picture takes is not known for it")


def test_an_exported_model_without_a_manifest_is_served_as_it_is(tmp_path: Path) -> None:
    save_export(tmp_path, LLAVA_15_7B)
    command = f"silkline up --engine openvino --model {tmp_path}"
    assert verdicts(inspected(tmp_path))["openvino"] == (Verdict.YES, command)


def test_pickled_weights_are_accepted_by_no_engine(tmp_path: Path) -> None:
    save(tmp_path, LLAVA_15_7B)
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    found = inspected(tmp_path)
    for verdict, why in verdicts(found).values():
        assert verdict is Verdict.NO
        assert "pickled (pytorch_model.bin), which is not accepted" in why
    assert any("Pickled weights are not read" in note for note in found.notes)


def test_parameters_by_part_and_bytes(tmp_path: Path) -> None:
    save_tensors(save(tmp_path, LLAVA_15_7B) / "model.safetensors", WEIGHTS)
    found = inspected(tmp_path)
    assert found.weights.parameters == {
        Part.VISION: 30,
        Part.LANGUAGE: 10,
        Part.EMBEDDINGS: 20,
    }
    assert found.disk_bytes == sum(path.stat().st_size for path in tmp_path.iterdir())


def test_packed_weights_are_noted(tmp_path: Path) -> None:
    config = LLAVA_15_7B["config.json"] | {"quantization_config": {"quant_method": "awq"}}
    found = inspected(save(tmp_path, {"config.json": config}))
    assert found.quantization == "awq"
    assert any("as packed" in note for note in found.notes)


def test_code_of_its_own_is_noted_and_not_run(tmp_path: Path) -> None:
    save(tmp_path, INTERNVL2_2B)
    (tmp_path / "modeling_internvl_chat.py").write_text("raise SystemExit")
    assert any("runs none of it" in note for note in inspected(tmp_path).notes)


@pytest.mark.parametrize("files", PUBLISHED)
def test_everything_can_be_written_as_json(tmp_path: Path, files: dict[str, Any]) -> None:
    found = inspected(save(tmp_path, files))
    assert msgspec.json.decode(msgspec.json.encode(found), type=Inspection) == found


def test_commands_are_what_a_shell_takes(tmp_path: Path) -> None:
    folder = save_whole(tmp_path / "my models; it's", LLAVA_15_7B)
    commands = [why.rpartition(": ")[2] for _, why in verdicts(inspected(folder)).values()]
    named = [shlex.split(said.removesuffix(" (exports it once)")) for said in commands[:3]]
    assert [words[-1] for words in named] == [str(folder)] * 3


def test_other_graphs_do_not_make_a_folder_an_export(tmp_path: Path) -> None:
    save(tmp_path, BESIDE | LLAVA_15_7B)
    (tmp_path / "annotations.xml").touch()
    verdict, why = verdicts(inspected(tmp_path))["openvino"]
    assert (verdict, "no safetensors in its folder" in why) == (Verdict.NO, True)
    save_tensors(tmp_path / "model.safetensors", WEIGHTS)
    assert verdicts(inspected(tmp_path))["openvino"][1].endswith("(exports it once)")
    (tmp_path / "openvino_language_model.xml").touch()
    verdict, why = verdicts(inspected(tmp_path))["openvino"]
    assert (verdict, "openvino_tokenizer.xml" in why) == (Verdict.NO, True)
