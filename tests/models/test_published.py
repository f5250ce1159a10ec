"""Published models: what their configs imply, reckoned by hand."""

from pathlib import Path
from typing import Any

import pytest

from silkline.engines.registry import judge
from silkline.errors import ConfigError
from silkline.models.inspection import Inspection, inspect_model
from silkline.models.resolve import locate_model
from tests.models import samples
from tests.models.samples import save

HD = (1920, 1080)
SIZES = ((224, 224), (640, 480), (1024, 768), HD)
PAGE = Path(__file__).parents[2] / "docs" / "models.md"


def inspected(folder: Path, files: dict[str, Any], *pictures: tuple[int, int]) -> Inspection:
    return inspect_model(locate_model(str(save(folder, files)), {}), judge, pictures or (HD,))


@pytest.mark.parametrize(
    ("files", "family", "tokens"),
    [
        (samples.LLAVA_15_7B, "LLaVA-1.5", 576),
        (samples.LLAVA_NEXT_MISTRAL, "LLaVA-NeXT", 576 + 28 * 48 + 28),
        (samples.LLAVA_ONEVISION, "LLaVA-OneVision", 7269),
        (samples.BLIP_2_OPT, "BLIP-2", 32),
        (samples.SMOLVLM_500M, "Idefics3 / SmolVLM", 64 * 13 + 24 + 3 + 3),
        (samples.QWEN2_VL_7B, "Qwen2-VL", 69 * 39 + 2),
        (samples.QWEN2_5_VL_3B, "Qwen2.5-VL", 69 * 39 + 2),
        (samples.QWEN3_VL_4B, "Qwen3-VL", 60 * 34 + 2),
        (samples.QWEN3_VL_30B_A3B, "Qwen3-VL, mixture of experts", 60 * 34 + 2),
        (samples.QWEN3_5, "Qwen3.5 to 3.8", 60 * 34 + 2),
        (samples.QWEN3_5_MOE, "Qwen3.5 to 3.8, mixture of experts", 60 * 34 + 2),
        (samples.GEMMA_4, "Gemma 4", 22 * 12 + 2),
        (samples.PALIGEMMA_448, "PaliGemma", 1024),
        (samples.GEMMA_3_4B, "Gemma 3", 256 + 2),
        (samples.INTERNVL3_1B, "InternVL", 256 * 9 + 2),
        (samples.INTERNVL2_2B, "InternVL (own code)", 256 * 9 + 2),
    ],
)
def test_tokens_of_a_full_hd_picture(
    tmp_path: Path, files: dict[str, Any], family: str, tokens: int
) -> None:
    found = inspected(tmp_path, files)
    assert found.family == family
    assert found.image_tokens is not None
    assert [picture.total for picture in found.image_tokens.images] == [tokens]


@pytest.mark.parametrize(
    ("files", "layers", "kv_heads", "head_dim", "context", "kv_bytes"),
    [
        (samples.LLAVA_15_7B, 32, 32, 128, 4096, 524_288),
        (samples.LLAVA_NEXT_MISTRAL, 32, 8, 128, 32768, 131_072),
        (samples.LLAVA_ONEVISION, 24, 2, 64, 32768, 12_288),
        (samples.BLIP_2_OPT, 32, 32, 80, 2048, 327_680),
        (samples.SMOLVLM_500M, 32, 5, 64, 8192, 40_960),
        (samples.QWEN2_VL_7B, 28, 4, 128, 32768, 57_344),
        (samples.QWEN2_5_VL_3B, 36, 2, 128, 128_000, 36_864),
        (samples.QWEN3_VL_4B, 36, 8, 128, 262_144, 147_456),
        (samples.QWEN3_VL_30B_A3B, 48, 4, 128, 262_144, 98_304),
        # One layer of four has keys and values.
        (samples.QWEN3_5, 8, 4, 256, 32768, 32_768),
        (samples.QWEN3_5_MOE, 10, 2, 256, 32768, 20_480),
        # 25 layers with heads of 256, and 5 of 512.
        (samples.GEMMA_4, 30, 4, 256, 131_072, 143_360),
        (samples.PALIGEMMA_448, 18, 1, 256, 8192, 18_432),
        (samples.GEMMA_3_4B, 34, 4, 256, 131_072, 139_264),
        (samples.INTERNVL3_1B, 24, 2, 64, 32768, 12_288),
        (samples.INTERNVL2_2B, 24, 8, 128, 32768, 98_304),
    ],
)
def test_the_cache_of_a_token(
    tmp_path: Path,
    files: dict[str, Any],
    layers: int,
    kv_heads: int,
    head_dim: int,
    context: int,
    kv_bytes: int,
) -> None:
    found = inspected(tmp_path, files)
    assert found.decoder is not None
    assert (found.decoder.layers, found.decoder.kv_heads) == (layers, kv_heads)
    assert found.decoder.head_dim == head_dim
    assert found.context_length == context
    assert found.kv_bytes_per_token == {
        "float32": 2 * kv_bytes,
        "bfloat16": kv_bytes,
        "float16": kv_bytes,
        "int8": kv_bytes // 2,
    }


def test_layers_that_share_keys_and_values_have_none(tmp_path: Path) -> None:
    config = dict(samples.GEMMA_4["config.json"])
    config["text_config"] = config["text_config"] | {
        "num_hidden_layers": 12, "num_kv_shared_layers": 6, "attention_k_eq_v": True,
        "num_global_key_value_heads": 1,
    }  # fmt: skip
    found = inspected(tmp_path, samples.GEMMA_4 | {"config.json": config})
    assert found.decoder is not None
    assert found.decoder.layers == 6
    # Five sliding layers with 4 heads of 256, one with 1 head of 512.
    assert found.kv_bytes_per_token is not None
    assert found.kv_bytes_per_token["int8"] == 2 * (5 * 4 * 256 + 512)


def test_layers_with_a_window_are_told(tmp_path: Path) -> None:
    found = inspected(tmp_path, samples.GEMMA_3_4B)
    assert found.decoder is not None
    assert found.decoder.sliding is not None
    assert (found.decoder.sliding.layers, found.decoder.sliding.window) == (29, 1024)
    assert any("29 of 34 layers keep 1024 tokens" in note for note in found.notes)


def test_preprocessing_of_llava(tmp_path: Path) -> None:
    steps = inspected(tmp_path, samples.LLAVA_15_7B).preprocessing
    assert steps is not None
    assert (steps.size, steps.crop) == ({"shortest_edge": 336}, {"shortest_edge": 336})
    assert steps.resample == "bicubic"
    assert steps.mean == (0.48145466, 0.4578275, 0.40821073)


def test_the_image_processor_of_transformers_5_stands_inside_the_processor(tmp_path: Path) -> None:
    files = dict(samples.QWEN2_VL_7B)
    files["processor_config.json"] = {
        "image_processor": {"size": {"shortest_edge": 3136, "longest_edge": 262144}}
    }
    del files["preprocessor_config.json"]
    found = inspected(tmp_path, files, (1300, 876))
    assert found.image_tokens is not None
    assert found.image_tokens.images[0].features == 330


@pytest.mark.parametrize(
    ("files", "change"),
    [
        (samples.LLAVA_15_7B, {"vision_config": {"model_type": "pixtral"}}),
        (samples.LLAVA_15_7B, {"vision_feature_select_strategy": "other"}),
        (samples.LLAVA_ONEVISION, {"vision_aspect_ratio": "pad"}),
        (samples.INTERNVL2_2B, {"max_dynamic_patch": 10**6}),
    ],
)
def test_what_no_rule_covers_is_not_guessed(
    tmp_path: Path, files: dict[str, Any], change: dict[str, Any]
) -> None:
    found = inspected(tmp_path, files | {"config.json": files["config.json"] | change})
    assert found.family is not None
    assert found.image_tokens is None
    assert any("not known for this configuration" in note for note in found.notes)


@pytest.mark.parametrize(
    ("files", "change", "said"),
    [
        (samples.LLAVA_NEXT_MISTRAL, {"vision_config": {"image_size": 673}}, "smaller than a tile"),
        (samples.LLAVA_15_7B, {"vision_config": {"patch_size": 337}}, "larger than image_size"),
        (
            samples.LLAVA_15_7B,
            {"text_config": {"num_hidden_layers": 10**6}},
            "not a possible shape",
        ),
    ],
)
def test_what_no_model_can_mean_is_refused(
    tmp_path: Path, files: dict[str, Any], change: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        inspected(tmp_path, {"config.json": files["config.json"] | change})


def test_an_empty_budget_is_refused(tmp_path: Path) -> None:
    budget = {"min_pixels": 4096, "max_pixels": 4095}
    with pytest.raises(
        ConfigError, match="minimum of 4096 pixels per image, but a maximum of 4095"
    ):
        inspected(tmp_path, samples.QWEN2_VL_7B | {"preprocessor_config.json": budget})


def test_pan_and_scan_is_not_guessed(tmp_path: Path) -> None:
    files = samples.GEMMA_3_4B | {"preprocessor_config.json": {"do_pan_and_scan": True}}
    assert inspected(tmp_path, files).image_tokens is None


@pytest.mark.parametrize(
    "change",
    [{"model_type": "next_years"}, {"architectures": ["LlamaForCausalLM"]}, {"model_type": None}],
)
def test_an_unknown_family_says_so(tmp_path: Path, change: dict[str, Any]) -> None:
    config = samples.LLAVA_15_7B["config.json"] | change
    found = inspected(tmp_path, {"config.json": config})
    assert found.family is None
    assert found.image_tokens is None
    assert any("not in Silkline's table" in note for note in found.notes)


def test_an_encoder_and_decoder_has_no_cache_by_the_token(tmp_path: Path) -> None:
    text = {"model_type": "t5", "d_model": 2048, "num_heads": 32, "num_layers": 24}
    config = samples.BLIP_2_OPT["config.json"] | {"text_config": text}
    found = inspected(tmp_path, {"config.json": config})
    assert found.decoder is None
    assert found.kv_bytes_per_token is None


def test_a_tokenizer_may_allow_less(tmp_path: Path) -> None:
    files = samples.LLAVA_15_7B | {"tokenizer_config.json": {"model_max_length": 2048}}
    assert inspected(tmp_path, files).context_length == 2048
    files |= {"tokenizer_config.json": {"model_max_length": 1e30}}
    assert inspected(tmp_path, files).context_length == 4096


def test_a_refused_shape_is_told_beside_the_others(tmp_path: Path) -> None:
    tokens = inspected(tmp_path, samples.QWEN2_VL_7B, (1, 1000), (28, 28)).image_tokens
    assert tokens is not None
    assert tokens.images[0].refused is not None
    assert tokens.images[1].total == 6


@pytest.mark.parametrize(
    ("files", "name"),
    [
        (samples.LLAVA_15_7B, "LLaVA-1.5 7B"),
        (samples.LLAVA_NEXT_MISTRAL, "LLaVA-NeXT Mistral 7B"),
        (samples.LLAVA_ONEVISION, "LLaVA-OneVision Qwen2 0.5B"),
        (samples.BLIP_2_OPT, "BLIP-2 OPT 2.7B"),
        (samples.SMOLVLM_500M, "SmolVLM 500M"),
        (samples.QWEN2_VL_7B, "Qwen2-VL 7B"),
        (samples.QWEN2_5_VL_3B, "Qwen2.5-VL 3B"),
        (samples.QWEN3_VL_4B, "Qwen3-VL 4B"),
        (samples.QWEN3_VL_30B_A3B, "Qwen3-VL 30B-A3B"),
        (samples.QWEN3_5, "Qwen3.5, default sizes"),
        (samples.GEMMA_4, "Gemma 4, default sizes"),
        (samples.PALIGEMMA_448, "PaliGemma 3B 448"),
        (samples.GEMMA_3_4B, "Gemma 3 4B"),
        (samples.INTERNVL3_1B, "InternVL3 1B"),
        (samples.INTERNVL2_2B, "InternVL2 2B, its authors' code"),
    ],
)
def test_the_page_tells_the_same(tmp_path: Path, files: dict[str, Any], name: str) -> None:
    """The table of docs/models.md is what this says."""
    found = inspected(tmp_path, files, *SIZES)
    assert found.image_tokens is not None
    assert found.kv_bytes_per_token is not None
    tokens = " | ".join(str(picture.total) for picture in found.image_tokens.images)
    row = f"| {name} | {tokens} | {found.kv_bytes_per_token['bfloat16']:,} |"
    assert row in PAGE.read_text(encoding="utf-8"), row
