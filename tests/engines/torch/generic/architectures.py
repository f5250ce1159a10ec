"""Tiny models of architectures without an adapter, with random weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from silkline.engines.torch.support import TORCH_MODEL_TYPES
from tests.engines.torch.tiny import Tiny, save
from tests.engines.torch.tiny_parts import HEADS, HIDDEN, PATCH, TEXT, TILE

_TOWER = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": TILE,
    "patch_size": PATCH,
}
_NORMS = {"image_mean": [0.48, 0.45, 0.4], "image_std": [0.27, 0.26, 0.28]}
_SQUARE = {"height": TILE, "width": TILE}
_CLIP = {"image_processor_type": "CLIPImageProcessor", "crop_size": _SQUARE,
         "size": {"shortest_edge": TILE}, **_NORMS}  # fmt: skip
_TEMPLATE = (
    "{% for m in messages %}[{{ m['role'] }}]{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}IMAGE{% else %}{{ c['text'] }}{% endif %}{% endfor %}\n"
    "{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
)
_ENDS = ("<s>", "</s>")


def _template(image: str, begin: str = "") -> str:
    return begin + _TEMPLATE.replace("IMAGE", image)


@dataclass(frozen=True)
class Architecture:
    """A model without an adapter.

    Attributes:
        tiny: What its folder is made of.
        tokenizer: The tokenizer's class that its processor asks for.
        finish: What else its folder needs.
        without_images: Whether it answers questions without an image.
        image: What a user writes for an image, if there is no chat template.
        unused: What the processor makes and the model does not take.
    """

    tiny: Tiny
    tokenizer: str = "PreTrainedTokenizerFast"
    finish: Callable[[Path], None] = lambda folder: None
    without_images: bool = True
    image: str = ""
    unused: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """For pytest."""
        return self.tiny.model_type


def save_architecture(made: Architecture, folder: Path) -> Path:
    """Writes its folder."""
    save(made.tiny, folder)
    _change(folder / "tokenizer_config.json", tokenizer_class=made.tokenizer)
    made.finish(folder)
    return folder


def _change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | values))


def _qformer_tokenizer(folder: Path) -> None:
    """InstructBLIP reads the question with a second tokenizer."""
    inner = folder / "qformer_tokenizer"
    inner.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (inner / name).write_bytes((folder / name).read_bytes())


def _decoder_start(folder: Path) -> None:
    """An answer of Florence-2 begins with a token that its generation config names."""
    end = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))
    _change(folder / "generation_config.json", decoder_start_token_id=end["eos_token_id"])


def _separator(folder: Path) -> None:
    """Chameleon's prompts end with the tokenizer's separator."""
    _change(folder / "tokenizer_config.json", sep_token="</s>")


def _long(folder: Path) -> None:
    """An image takes 576 tokens."""
    _change(folder / "tokenizer_config.json", model_max_length=2048)


_CODES = ("IMGIMGAZ", "IMGIMGBZ", "IMGIMGCZ", "IMGIMGDZ")
_DIMS = {"embed_dim": HIDDEN, "ffn_dim": 64, "layers": 2, "attention_heads": HEADS,
         "max_position_embeddings": 1024, "pad_token_id": "</s>", "bos_token_id": "<s>",
         "eos_token_id": "</s>"}  # fmt: skip

ARCHITECTURES = (
    Architecture(Tiny(
        model_type="vipllava",
        model="VipLlavaForConditionalGeneration",
        processor="LlavaProcessor",
        config={"text_config": {"model_type": "llama", **TEXT},
                "vision_config": {"model_type": "clip_vision_model", "projection_dim": HIDDEN,
                                  **_TOWER},
                "image_token_index": "<image>", "vision_feature_layers": [-1, -2],
                "image_seq_length": (TILE // PATCH) ** 2},
        special=(*_ENDS, "<image>"),
        image=_CLIP,
        made_with={"patch_size": PATCH, "vision_feature_select_strategy": "default",
                   "num_additional_image_tokens": 1, "processor_class": "LlavaProcessor"},
        begins=True,
        notes="no chat template",
    ), image="<image>"),
    Architecture(Tiny(
        model_type="aya_vision",
        model="AyaVisionForConditionalGeneration",
        processor="AyaVisionProcessor",
        config={"text_config": {"model_type": "cohere2", "head_dim": 12, "sliding_window": 16,
                                "logit_scale": 1.0, **TEXT},
                "vision_config": {"model_type": "siglip_vision_model", "vision_use_head": False,
                                  **_TOWER},
                "image_token_index": "<|IMG_PATCH|>"},
        special=(*_ENDS, "<image>", "<|IMG_PATCH|>", "<|START_OF_IMG|>", "<|END_OF_IMG|>"),
        image={"image_processor_type": "GotOcr2ImageProcessor", "size": _SQUARE,
               "crop_to_patches": True, "min_patches": 1, "max_patches": 4, **_NORMS},
        made_with={"patch_size": PATCH, "img_size": TILE, "downsample_factor": 2,
                   "processor_class": "AyaVisionProcessor"},
        template=_template("<image>"),
    )),
    Architecture(Tiny(
        model_type="idefics2",
        model="Idefics2ForConditionalGeneration",
        processor="Idefics2Processor",
        config={"text_config": {"model_type": "mistral", "sliding_window": None,
                                "pad_token_id": "</s>", **TEXT},
                "vision_config": {"model_type": "idefics2_vision", **_TOWER},
                "perceiver_config": {"model_type": "idefics2_perceiver", "hidden_size": HIDDEN,
                                     "resampler_n_latents": 4, "resampler_depth": 1,
                                     "resampler_n_heads": 4, "resampler_head_dim": 12,
                                     "num_key_value_heads": 2},
                "image_token_id": "<image>"},
        special=(*_ENDS, "<fake_token_around_image>", "<image>", "<end_of_utterance>"),
        image={"image_processor_type": "Idefics2ImageProcessor", "do_image_splitting": False,
               "size": {"longest_edge": TILE, "shortest_edge": TILE // 2}, **_NORMS},
        made_with={"image_seq_len": 4, "processor_class": "Idefics2Processor"},
        template=_template("<image>", "<s>"),
    )),
    Architecture(Tiny(
        model_type="kosmos-2",
        model="Kosmos2ForConditionalGeneration",
        processor="Kosmos2Processor",
        config={"text_config": {"model_type": "kosmos_2_text_model", "scale_embedding": False,
                                **_DIMS},
                "vision_config": {"model_type": "kosmos_2_vision_model", **_TOWER},
                "latent_query_num": 64},
        special=(*_ENDS, "<image>", "</image>"),
        image=_CLIP,
        made_with={"num_patch_index_tokens": 4, "processor_class": "Kosmos2Processor"},
        begins=True,
        pictures=1,
        notes="one image; the processor places it before the text",
    ), without_images=False),
    Architecture(Tiny(
        model_type="deepseek_vl",
        model="DeepseekVLForConditionalGeneration",
        processor="DeepseekVLProcessor",
        config={"text_config": {"model_type": "llama", **TEXT},
                "vision_config": {"model_type": "siglip_vision_model", "vision_use_head": False,
                                  **_TOWER},
                "image_token_id": "<image_placeholder>"},
        special=(*_ENDS, "<image_placeholder>"),
        image={"image_processor_type": "DeepseekVLImageProcessor", "size": _SQUARE,
               "min_size": 14, **_NORMS},
        made_with={"num_image_tokens": (TILE // PATCH) ** 2,
                   "processor_class": "DeepseekVLProcessor"},
        template=_template("<image_placeholder>", "<s>"),
        named={"image_token": "<image_placeholder>"},
    )),
    Architecture(Tiny(
        model_type="mllama",
        model="MllamaForConditionalGeneration",
        processor="MllamaProcessor",
        config={"text_config": {"model_type": "mllama_text_model", "cross_attention_layers": [1],
                                "pad_token_id": "</s>", "rope_scaling": {"rope_type": "default"},
                                **TEXT, "num_hidden_layers": 3},
                "vision_config": {"model_type": "mllama_vision_model", **_TOWER,
                                  "num_global_layers": 1, "vision_output_dim": 64,
                                  "max_num_tiles": 4, "attention_heads": 4,
                                  "intermediate_layers_indices": [1],
                                  "supported_aspect_ratios": [[1, 1], [1, 2], [1, 3], [1, 4],
                                                              [2, 1], [2, 2], [3, 1], [4, 1]]},
                "image_token_index": "<|image|>"},
        special=(*_ENDS, "<|image|>", "<|python_tag|>"),
        image={"image_processor_type": "MllamaImageProcessor", "size": _SQUARE,
               "max_image_tiles": 4, **_NORMS},
        made_with={"processor_class": "MllamaProcessor"},
        template=_template("<|image|>", "<s>"),
        notes="images enter by cross-attention; an image is one token",
    )),
    Architecture(Tiny(
        model_type="got_ocr2",
        model="GotOcr2ForConditionalGeneration",
        processor="GotOcr2Processor",
        config={"text_config": {"model_type": "qwen2", **TEXT},
                "vision_config": {"hidden_size": 32, "output_channels": 16, "mlp_dim": 48,
                                  "num_hidden_layers": 2, "num_attention_heads": 4,
                                  "image_size": 64, "patch_size": PATCH, "window_size": 4,
                                  "global_attn_indexes": [1]},
                "image_token_index": "<imgpad>", "image_seq_length": 4, "pad_token_id": "</s>"},
        special=(*_ENDS, "<img>", "</img>", "<imgpad>"),
        image={"image_processor_type": "GotOcr2ImageProcessor",
               "size": {"height": 64, "width": 64}, **_NORMS},
        made_with={"processor_class": "GotOcr2Processor"},
        pictures=1,
        template=_template("<img>" + "<imgpad>" * 4 + "</img>"),
        notes="the template writes all tokens of the image",
    ), without_images=False),
    Architecture(Tiny(
        model_type="instructblip",
        model="InstructBlipForConditionalGeneration",
        processor="InstructBlipProcessor",
        config={"vision_config": {**_TOWER, "model_type": "instructblip_vision_model"},
                "qformer_config": {"model_type": "instructblip_qformer", "hidden_size": 32,
                                   "num_hidden_layers": 2, "num_attention_heads": 4,
                                   "intermediate_size": 48, "encoder_hidden_size": 32,
                                   "vocab_size": 600},
                "text_config": {"model_type": "opt", "hidden_size": HIDDEN, "ffn_dim": 64,
                                "word_embed_proj_dim": HIDDEN, "num_hidden_layers": 2,
                                "num_attention_heads": HEADS, "max_position_embeddings": 1024,
                                "pad_token_id": "</s>", "bos_token_id": "<s>",
                                "eos_token_id": "</s>", "tie_word_embeddings": False},
                "num_query_tokens": 6, "image_token_index": "<image>"},
        special=(*_ENDS, "<image>"),
        image={"image_processor_type": "BlipImageProcessor", "size": _SQUARE, **_NORMS},
        made_with={"num_query_tokens": 6, "processor_class": "InstructBlipProcessor"},
        begins=True,
        pictures=1,
        notes="one image, always",
    ), finish=_qformer_tokenizer, without_images=False),
    Architecture(Tiny(
        model_type="florence2",
        model="Florence2ForConditionalGeneration",
        processor="Florence2Processor",
        config={"text_config": {"model_type": "bart", "d_model": HIDDEN, "encoder_layers": 2,
                                "decoder_layers": 2, "encoder_attention_heads": HEADS,
                                "decoder_attention_heads": HEADS, "encoder_ffn_dim": 64,
                                "decoder_ffn_dim": 64, "max_position_embeddings": 1024,
                                "bos_token_id": "<s>", "eos_token_id": "</s>",
                                "pad_token_id": "</s>", "decoder_start_token_id": "</s>",
                                "forced_bos_token_id": None, "forced_eos_token_id": None},
                "vision_config": {"depths": [1, 1], "patch_size": [7, 3], "patch_stride": [4, 2],
                                  "patch_padding": [3, 1], "patch_prenorm": [False, True],
                                  "embed_dim": [16, 32], "num_heads": [2, 4], "num_groups": [2, 4],
                                  "window_size": 4, "projection_dim": HIDDEN},
                "image_token_id": "<image>"},
        special=(*_ENDS, "<image>"),
        image={"image_processor_type": "CLIPImageProcessor", "crop_size": _SQUARE,
               "size": _SQUARE, "image_seq_length": 17, **_NORMS},
        made_with={"processor_class": "Florence2Processor"},
        begins=True,
        named={"image_token": "<image>"},
        pictures=1,
        notes="an encoder with a decoder; one image",
    ), tokenizer="BartTokenizerFast", finish=_decoder_start, without_images=False),
    Architecture(Tiny(
        model_type="aria",
        model="AriaForConditionalGeneration",
        processor="AriaProcessor",
        config={"text_config": {"model_type": "aria_text", "moe_num_experts": 4, "moe_topk": 2,
                                "pad_token_id": "</s>", **TEXT, "intermediate_size": 16},
                "vision_config": {"model_type": "idefics3_vision", **_TOWER, "image_size": 980,
                                  "patch_size": 196},
                "projector_patch_to_query_dict": {"25": 4}, "image_token_index": "<image>"},
        special=(*_ENDS, "<image>"),
        image={"image_processor_type": "AriaImageProcessor", "max_image_size": 980,
               "min_image_size": 336, "split_image": False, **_NORMS},
        made_with={"size_conversion": {"980": 4}, "processor_class": "AriaProcessor"},
        template=_template("<image>", "<s>"),
        named={"image_token": "<image>"},
        notes="mixture of experts",
    )),
    Architecture(Tiny(
        model_type="janus",
        model="JanusForConditionalGeneration",
        processor="JanusProcessor",
        config={"text_config": {"model_type": "llama", **TEXT,
                                "max_position_embeddings": 2048},
                "vision_config": {"model_type": "janus_vision_model", **_TOWER, "image_size": 192,
                                  "projection_dim": HIDDEN, "mlp_ratio": 1.0, "depth": 1},
                "vq_config": {"model_type": "janus_vqgan", "num_embeddings": 8,
                              "latent_channels": 32, "num_patches": 4, "base_channels": 32,
                              "channel_multiplier": [1, 1], "num_res_blocks": 1,
                              "projection_dim": HIDDEN, "image_token_embed_dim": HIDDEN},
                "image_token_id": "<image_placeholder>"},
        special=(*_ENDS, "<image_placeholder>", "<begin_of_image>", "<end_of_image>"),
        image={"image_processor_type": "JanusImageProcessor", "min_size": 14,
               "size": {"height": 192, "width": 192}, **_NORMS},
        made_with={"processor_class": "JanusProcessor"},
        template=_template("<image_placeholder>", "<s>"),
        named={"image_token": "<image_placeholder>", "boi_token": "<begin_of_image>",
               "eoi_token": "<end_of_image>"},
        notes="answers in text only; it draws no images",
    ), tokenizer="LlamaTokenizerFast", finish=_long),
    Architecture(Tiny(
        model_type="git",
        model="GitForCausalLM",
        processor="GitProcessor",
        config={"hidden_size": HIDDEN, "intermediate_size": 64, "num_hidden_layers": 2,
                "num_attention_heads": HEADS, "max_position_embeddings": 1024,
                "pad_token_id": "</s>", "bos_token_id": "<s>", "eos_token_id": "</s>",
                "vision_config": {"model_type": "git_vision_model", **_TOWER}},
        special=_ENDS,
        image=_CLIP,
        made_with={"processor_class": "GitProcessor"},
        begins=True,
        pictures=1,
        notes="one image, in front of the prompt and not among its tokens",
    )),
    Architecture(Tiny(
        model_type="chameleon",
        model="ChameleonForConditionalGeneration",
        processor="ChameleonProcessor",
        config={**TEXT, "vq_config": {"num_embeddings": 4, "embed_dim": 32, "resolution": 16,
                                       "latent_channels": 32, "base_channels": 32,
                                       "channel_multiplier": [1, 1], "num_res_blocks": 1},
                "vocabulary_map": {"<image>": "<image>", **{code: code for code in _CODES}}},
        special=(*_ENDS, "<image>", "<racm3:break>", "<eoss>", *_CODES),
        image={"image_processor_type": "ChameleonImageProcessor",
               "crop_size": {"height": 16, "width": 16}, "size": {"shortest_edge": 16}, **_NORMS},
        made_with={"image_seq_length": 64, "processor_class": "ChameleonProcessor"},
        begins=True,
        named={"image_token": "<image>", "boi_token": "<racm3:break>", "eoi_token": "<eoss>"},
        notes="images are tokens of a codebook; answers in text only",
    ), image="<image>", tokenizer="LlamaTokenizerFast", finish=_separator),
)  # fmt: skip

GENERIC = tuple(made for made in ARCHITECTURES if made.tiny.model_type not in TORCH_MODEL_TYPES)
"""Those without an adapter."""
