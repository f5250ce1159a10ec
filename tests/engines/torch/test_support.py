from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from silkline.engines.registry import judge
from silkline.engines.torch.support import _OTHER_LAYERS, _OWN_ATTENTION, _SINKS
from silkline.models.inspection import inspect_model
from silkline.models.resolve import BUNDLED_MODEL, locate_model
from silkline.models.support import Verdict
from tests.engines.managed.models import GGUF_MODEL, GGUF_PROJECTOR, gguf
from tests.models.samples import (
    BLIP_2_OPT,
    GEMMA_3_4B,
    GEMMA_4,
    INTERNVL2_2B,
    INTERNVL3_1B,
    LLAVA_15_7B,
    LLAVA_NEXT_MISTRAL,
    LLAVA_ONEVISION,
    PALIGEMMA_448,
    QWEN2_5_VL_3B,
    QWEN2_VL_7B,
    QWEN3_5,
    QWEN3_5_MOE,
    QWEN3_VL_4B,
    QWEN3_VL_30B_A3B,
    SMOLVLM_500M,
    save,
    save_whole,
)


def verdict(folder: Path, engine: str = "torch") -> tuple[Verdict, str]:
    found = inspect_model(locate_model(str(folder), {}), judge)
    return next((each.verdict, each.why) for each in found.engines if each.engine == engine)


def model(folder: Path, files: dict[str, Any], **config: Any) -> Path:
    return save_whole(folder, {**files, "config.json": {**files["config.json"], **config}})


@pytest.mark.parametrize(
    "files",
    [
        LLAVA_15_7B,
        LLAVA_NEXT_MISTRAL,
        LLAVA_ONEVISION,
        BLIP_2_OPT,
        SMOLVLM_500M,
        QWEN2_VL_7B,
        QWEN2_5_VL_3B,
        QWEN3_VL_4B,
        QWEN3_VL_30B_A3B,
        QWEN3_5,
        QWEN3_5_MOE,
        GEMMA_4,
        PALIGEMMA_448,
        GEMMA_3_4B,
        INTERNVL3_1B,
    ],
    ids=lambda files: files["config.json"]["model_type"],
)
def test_families_with_an_adapter_are_served(tmp_path: Path, files: dict[str, Any]) -> None:
    said = verdict(model(tmp_path, files))
    assert said == (Verdict.YES, f"silkline up --engine torch --model {tmp_path}")


@pytest.mark.parametrize(
    ("files", "config", "why"),
    [
        (INTERNVL2_2B, {}, "needs the code of its authors, which is not run"),
        (LLAVA_15_7B, {"model_type": "nobodys_vl"}, "no adapter for the family nobodys_vl"),
        (LLAVA_ONEVISION | {"preprocessor_config.json": {}}, {}, "no preprocessor_config.json"),
        (LLAVA_15_7B, {"quantization_config": {"quant_method": "awq"}}, "quantised (awq)"),
    ],
)
def test_others_are_refused_with_the_way_out(
    tmp_path: Path, files: dict[str, Any], config: dict[str, Any], why: str
) -> None:
    found, said = verdict(model(tmp_path, files, **config))
    assert found is Verdict.NO
    assert why in said
    assert "engine remote" in said or "get it with `hf download`, or from where" in said


@pytest.mark.parametrize(
    ("files", "config"),
    [
        (LLAVA_15_7B, {"model_type": "chameleon"}),
        (BLIP_2_OPT, {"text_config": {"model_type": "t5"}}),
        (LLAVA_15_7B, {"vision_config": {"model_type": "pixtral"}}),
        (LLAVA_15_7B, {"text_config": {"model_type": "gpt_oss"}}),
        (LLAVA_15_7B, {"text_config": {"model_type": "llama4_text"}}),
        (
            LLAVA_15_7B,
            {"text_config": {"model_type": "any", "layer_types": ["full_attention", "conv"]}},
        ),
        (LLAVA_15_7B, {"text_config": {"model_type": "mpt"}}),
    ],
)
def test_what_no_adapter_runs_is_left_to_generate(
    tmp_path: Path, files: dict[str, Any], config: dict[str, Any]
) -> None:
    found = inspect_model(locate_model(str(model(tmp_path, files, **config)), {}), judge)
    support = next(each for each in found.engines if each.engine == "torch")
    assert (support.verdict, support.path) == (Verdict.YES, "generic")


@pytest.mark.parametrize(
    ("model_type", "why"),
    [
        ("udop", "the words of a page and their boxes"),
        ("evolla", "proteins"),
        ("shieldgemma2", "does not answer questions"),
        ("pix2struct", "takes no tokens"),
        ("vision-encoder-decoder", "without a question"),
    ],
)
def test_models_that_need_more_than_an_image_and_text_are_refused(
    tmp_path: Path, model_type: str, why: str
) -> None:
    found, said = verdict(model(tmp_path, LLAVA_15_7B, model_type=model_type))
    assert found is Verdict.NO
    assert why in said


def test_the_language_models_that_are_refused_are_those_of_transformers() -> None:
    """By its sources, without importing them: what is listed has no attention to be replaced."""
    package = find_spec("transformers")
    if package is None or package.origin is None:
        pytest.skip("transformers is not installed")
    known = 0
    for name in sorted(_OWN_ATTENTION | _SINKS | _OTHER_LAYERS.keys()):
        folder = name.removesuffix("_text").replace("-", "_").replace("openai_gpt", "openai")
        source = Path(package.origin).parent / "models" / folder / f"modeling_{folder}.py"
        if not source.is_file():  # a newer or an older transformers has it
            continue
        known += 1
        text = source.read_text(encoding="utf-8")
        if name in _SINKS:
            assert "s_aux=self.sinks" in text, name
        elif name in _OWN_ATTENTION:
            assert "_supports_attention_backend = True" not in text, name
    assert known > 25


def test_weights_that_are_not_there_are_missed(tmp_path: Path) -> None:
    assert "no safetensors" in verdict(save(tmp_path, LLAVA_15_7B))[1]
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    save(tmp_path, {"model.safetensors.index.json": index})
    said = verdict(tmp_path)[1]
    assert "2 of its shards are not here, which model.safetensors.index.json names" in said
    assert "model-1.safetensors, model-2.safetensors" in said


def test_the_bundled_model_is_served() -> None:
    found = inspect_model(locate_model(BUNDLED_MODEL, {}), judge)
    said = {each.engine: each.verdict for each in found.engines}
    assert said["torch"] is Verdict.YES


def test_servers_that_silkline_starts_itself(tmp_path: Path) -> None:
    model(tmp_path, LLAVA_15_7B)
    assert verdict(tmp_path, "vllm")[0] is Verdict.ELSEWHERE
    assert "convert_hf_to_gguf.py" in verdict(tmp_path, "llamacpp")[1]
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "llava-Q4_K_M.gguf").write_bytes(gguf(GGUF_MODEL))
    assert verdict(tmp_path, "llamacpp")[0] is Verdict.NO
    (tmp_path / "mmproj-llava.gguf").write_bytes(gguf(GGUF_PROJECTOR))
    assert verdict(tmp_path, "llamacpp")[0] is Verdict.ELSEWHERE
    assert verdict(tmp_path, "openvino")[1] == "it reads no GGUF; use the engine llamacpp"
    found, why = verdict(tmp_path, "vllm")
    assert found is Verdict.NO
    assert "no safetensors in its folder, only llava-Q4_K_M.gguf, mmproj-llava.gguf" in why
    assert why.endswith("use the engine llamacpp for GGUF")


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"quantization_config": {"quant_method": "awq", "bits": 4}}, "awq"),
        ({"quantization_config": {"bits": 4}}, "unnamed"),
        ({"quantization": {"group_size": 64, "bits": 4}}, "mlx"),
        ({"text_config": {"quantization_config": {"quant_method": "gptq"}}}, "gptq"),
    ],
)
def test_packed_weights_are_neither_run_nor_exported(
    tmp_path: Path, config: dict[str, Any], named: str
) -> None:
    text = LLAVA_15_7B["config.json"]["text_config"] | config.get("text_config", {})
    folder = model(tmp_path, LLAVA_15_7B, **(config | {"text_config": text}))
    for engine in ("torch", "openvino"):
        found, why = verdict(folder, engine)
        assert found is Verdict.NO
        assert f"its weights are quantised ({named})" in why
    assert inspect_model(locate_model(str(folder), {}), judge).quantization == named
