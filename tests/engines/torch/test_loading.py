"""From folders to models, and from folders that are no good to errors that say so."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from silkline.engines.torch.families.common import Adapter
from silkline.engines.torch.load_model import load as load_model
from silkline.engines.torch.loading import load_family
from silkline.engines.torch.options import TorchOptions
from silkline.errors import ConfigError, EnvironmentFault
from silkline.models.bundle import load_bundle
from silkline.models.resolve import bundled_folder
from tests.engines.asking import picture, user
from tests.engines.torch.tiny import TINY, save, save_files

CPU = torch.device("cpu")


def load(folder: Path, dtype: torch.dtype | None = None) -> Adapter:
    return load_family(folder, dtype=dtype, device=CPU)


@pytest.fixture
def copied(llava: Path, tmp_path: Path) -> Path:
    """A LLaVA-1.5 that a test may damage."""
    return shutil.copytree(llava, tmp_path / "model")


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_model_is_loaded_in_the_dtype_that_is_asked_for(llava: Path) -> None:
    assert load(llava).model.dtype == torch.float32
    half = load(llava, torch.bfloat16)
    assert half.model.dtype == torch.bfloat16
    prompt = half.prepare([user(0, "What?")], [picture()])
    assert half.embed(prompt, half.encode(prompt.images)).dtype == torch.bfloat16
    assert not half.model.training


def test_no_progress_bar_goes_into_the_log(llava: Path) -> None:
    transformers.utils.logging.enable_progress_bar()
    load(llava)
    assert not transformers.utils.logging.is_progress_bar_enabled()


def test_the_bundled_model_is_loaded_from_what_its_manifest_names() -> None:
    bundle = load_bundle(bundled_folder())
    family = load(bundle.weights("torch"), torch.float32)
    prompt = family.prepare([user("Look: ", 0, "What is this?")], [picture(1, 300, 200)])
    assert family.image_tokens == bundle.manifest.image_tokens == prompt.images[0].tokens
    assert family.context_length >= bundle.manifest.context_length
    assert family.pixel_budget.shortest_edge == bundle.manifest.image_size
    # The template puts pictures first, and that is how the model was taught.
    text = family.tokenizer.wrapped.decode(prompt.ids)
    assert text.startswith("<|user|>" + "<image>" * 64 + "\nLook: What is this?<|end|>")


@pytest.mark.parametrize("model_type", ["gemma3", "qwen2_vl", "blip-2"])
def test_an_output_matrix_that_is_the_embeddings_is_not_missed(
    model_type: str, tmp_path: Path
) -> None:
    tiny = next(each for each in TINY if each.model_type == model_type)
    tied = {"tie_word_embeddings": True}
    config = tiny.config | tied | {"text_config": tiny.config["text_config"] | tied}
    folder = save(replace(tiny, config=config), tmp_path / "model")
    assert not any("lm_head" in name for name in load_file(folder / "model.safetensors"))
    family = load(folder)
    hidden = torch.ones(1, 48)
    table = family.embed_next(torch.arange(5)) / (48**0.5 if model_type == "gemma3" else 1)
    torch.testing.assert_close(family.logits(hidden)[:, :5], hidden @ table.T)


def no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def other_family(folder: Path) -> None:
    change(folder / "config.json", model_type="nobodys_vl", architectures=["NobodysModel"])


def own_code(folder: Path) -> None:
    change(folder / "config.json", model_type="own", auto_map={"AutoModel": "own.Own"})
    (folder / "own.py").write_text("raise SystemExit('it was run')")


def quantised(folder: Path) -> None:
    change(folder / "config.json", quantization_config={"quant_method": "awq"})


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def missing_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights.pop(next(name for name in sorted(weights) if name.endswith("q_proj.weight")))
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def other_shape(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    change(folder / "config.json", text_config=config["text_config"] | {"intermediate_size": 60})


def damaged_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def no_preprocessing(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()


def unknown_preprocessing(folder: Path) -> None:
    change(folder / "preprocessor_config.json", image_processor_type="OtherImageProcessor")


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def damaged_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")


def no_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()


def template_without_pictures(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{% for m in messages %}Hi{% endfor %}")


def no_image_token(folder: Path) -> None:
    change(folder / "config.json", image_token_index=100_000)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (no_config, "has no config.json"),
        (other_family, "no adapter for the family nobodys_vl; use the engine remote"),
        (own_code, "needs the code of its authors, which is not run"),
        (quantised, "quantised (awq)"),
        (pickled, "pickled (pytorch_model.bin), which is not accepted"),
        (no_weights, "no safetensors in its folder"),
        (missing_weight, "1 are missing or have another shape"),
        (other_shape, "Get the files again"),
        (damaged_weights, "not a whole safetensors file"),
        (no_preprocessing, "no preprocessor_config.json"),
        (unknown_preprocessing, "cannot load the image processor"),
        (no_tokenizer, "has no tokenizer.json"),
        (damaged_tokenizer, "tokenizer.json is not a whole tokenizer (2 B)"),
        (no_template, "no chat template"),
        (template_without_pictures, "chat template does not output the content of messages"),
        (no_image_token, "no token 100000"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_cannot_be_served_says_why(
    copied: Path, harm: Callable[[Path], None], said: str
) -> None:
    harm(copied)
    with pytest.raises(ConfigError) as refused:
        load(copied)
    assert said in refused.value.message


def test_nothing_is_fetched(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.socket.connect", _no_network)
    load(copied)


def _no_network(*told: object) -> None:
    raise AssertionError("something was fetched")


def test_an_old_transformers_is_told(llava: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transformers, "LlavaForConditionalGeneration", None)
    with pytest.raises(EnvironmentFault, match=r"install -U 'transformers>=4\.57,<6'"):
        load(llava)


@pytest.mark.parametrize(("model_type", "since"), [("gemma4", "5.5"), ("qwen3_5_moe", "5.2")])
def test_the_release_that_a_family_needs_is_named(
    model_type: str, since: str, llava: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = next(each for each in TINY if each.model_type == model_type)
    save_files(tiny, tmp_path)
    shutil.copy(llava / "model.safetensors", tmp_path)
    monkeypatch.setattr(transformers, tiny.model, None, raising=False)
    with pytest.raises(EnvironmentFault, match=f"'transformers>={since},<6'"):
        load(tmp_path)


def test_a_text_model_with_an_attention_of_its_own_is_refused(
    llava: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transformers.LlamaModel, "_supports_attention_backend", False)
    with pytest.raises(ConfigError, match="an attention of its own"):
        load(llava)


def test_tokens_that_the_files_forbid_are_never_said(copied: Path) -> None:
    change(
        copied / "generation_config.json", suppress_tokens=[3], bad_words_ids=[[5], [6, 7]],
        eos_token_id=[275, 276],
    )  # fmt: skip
    family = load(copied)
    logits = family.logits(torch.zeros(2, 48))
    assert torch.isinf(logits).nonzero().tolist() == [[0, 3], [0, 5], [1, 3], [1, 5]]
    assert family.end_ids == {275, 276}


@pytest.mark.parametrize("model_type", ["blip-2", "paligemma"])
def test_families_with_a_plain_prompt_need_no_template(model_type: str, tmp_path: Path) -> None:
    tiny = next(each for each in TINY if each.model_type == model_type)
    assert load(save(tiny, tmp_path / "model")).prepare([user(0, "Hi")], [picture()]).images


def test_no_code_of_the_hub_is_taken_for_the_attention(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(
        "transformers.modeling_utils.load_and_register_kernel", asked.append, raising=False
    )
    change(copied / "config.json", _attn_implementation="somebody/kernels")
    family = load(copied)
    assert family.model.model.vision_tower.config._attn_implementation == "sdpa"
    assert not asked


def with_language_model(folder: Path, text: dict[str, Any]) -> Path:
    tiny = next(each for each in TINY if each.model_type == "llava")
    return save(replace(tiny, config=tiny.config | {"text_config": text}), folder)


def test_a_language_model_with_sinks_is_run_by_generate(tmp_path: Path) -> None:
    text = TINY[0].config["text_config"]
    moe = {"num_local_experts": 2, "num_experts_per_tok": 1, "head_dim": 12}
    folder = with_language_model(tmp_path / "model", text | {"model_type": "gpt_oss"} | moe)
    assert load_model(folder, TorchOptions(device="cpu"), max_batch=2, kv_cache_bytes=0).path == (
        "generic"
    )


def test_the_context_ends_where_all_rotary_frequencies_would_change(tmp_path: Path) -> None:
    """One long request would change those of all that share its steps."""
    rope = {"type": "longrope", "short_factor": [1.0] * 6, "long_factor": [4.0] * 6}
    text = TINY[0].config["text_config"] | {
        "model_type": "phi3", "pad_token_id": 0, "rope_scaling": rope,
        "original_max_position_embeddings": 90,
    }  # fmt: skip
    family = load(with_language_model(tmp_path / "model", text))
    assert family.context_length == 90


def test_forbidden_tokens_that_the_model_does_not_have_do_no_harm(copied: Path) -> None:
    change(copied / "generation_config.json", suppress_tokens=[3, 10**6], bad_words_ids=[[10**5]])
    logits = load(copied).logits(torch.ones(1, 48))
    assert logits.isneginf().nonzero().tolist() == [[0, 3]]
