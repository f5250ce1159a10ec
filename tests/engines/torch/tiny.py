"""Tiny models of every family, with random weights, as folders like those that are published.

Each token of the tokenizers but the special ones is one character, so that a text tells its tokens.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers
from tokenizers import decoders, processors
from tokenizers.models import BPE

from tests.engines.torch.tiny_parts import (
    _CHATML,
    _CLIP,
    _DEEP,
    _DELTA,
    _EXPERTS,
    _GRIDS,
    _NORMS,
    _QWEN_3_5_TEXT,
    _QWEN_3_5_TOWER,
    _QWEN_3_TEXT,
    _QWEN_3_TOWER,
    _SIGLIP,
    _SQUARE,
    _TOWER,
    HEAD_DIM,
    HEADS,
    HIDDEN,
    LAYERS,
    LETTERS,
    PATCH,
    SEED,
    TEXT,
    TILE,
    Tiny,
    _gemma_4,
    _idefics,
    _paligemma,
    _qwen,
    _template,
)

__all__ = ["HIDDEN", "INSTALLED", "SEED", "TINY", "Tiny", "save", "save_files"]

TINY = (
    Tiny(
        model_type="llava",
        model="LlavaForConditionalGeneration",
        processor="LlavaProcessor",
        config={"text_config": {"model_type": "llama", **TEXT}, "vision_config": _CLIP,
                "image_token_index": "<image>", "vision_feature_layer": -2,
                "vision_feature_select_strategy": "default"},
        special=("<s>", "</s>", "<image>"),
        image={"image_processor_type": "CLIPImageProcessor", "do_center_crop": True,
               "crop_size": _SQUARE, "size": {"shortest_edge": TILE}, **_NORMS},
        made_with={"patch_size": PATCH, "vision_feature_select_strategy": "default",
                   "num_additional_image_tokens": 1},
        template=_template("<image>\n", "{{ m['role'] | upper }}: ", " ", "ASSISTANT:"),
        begins=True,
    ),
    Tiny(
        model_type="llava_next",
        model="LlavaNextForConditionalGeneration",
        processor="LlavaNextProcessor",
        config={"text_config": {"model_type": "mistral", "sliding_window": None, **TEXT},
                "vision_config": _CLIP, "image_token_index": "<image>", "vision_feature_layer": -2,
                "vision_feature_select_strategy": "default", "image_grid_pinpoints": _GRIDS},
        special=("<s>", "</s>", "<image>"),
        image={"image_processor_type": "LlavaNextImageProcessor", "crop_size": _SQUARE,
               "size": {"shortest_edge": TILE}, "image_grid_pinpoints": _GRIDS, **_NORMS},
        made_with={"patch_size": PATCH, "vision_feature_select_strategy": "default",
                   "num_additional_image_tokens": 1},
        template=_template("<image>\n", "[{{ m['role'] }}] ", " [/INST]", ""),
        begins=True,
        notes="tiles, unpadded",
    ),
    Tiny(
        model_type="llava_onevision",
        model="LlavaOnevisionForConditionalGeneration",
        processor="LlavaOnevisionProcessor",
        config={"text_config": {"model_type": "qwen2", **TEXT}, "vision_config": _SIGLIP,
                "image_token_index": "<image>", "video_token_index": "<video>",
                "vision_feature_layer": -1, "vision_feature_select_strategy": "full",
                "vision_aspect_ratio": "anyres_max_2", "image_grid_pinpoints": _GRIDS},
        special=("<|endoftext|>", "<|im_end|>", "<|im_start|>", "<image>", "<video>"),
        image={"image_processor_type": "LlavaOnevisionImageProcessor", "size": _SQUARE,
               "image_grid_pinpoints": _GRIDS, **_NORMS},
        made_with={"num_image_tokens": (TILE // PATCH) ** 2, "vision_aspect_ratio": "anyres_max_2",
                   "vision_feature_select_strategy": "full"},
        template=_template("<image>\n", *_CHATML),
        notes="one picture is tiled, several are seen whole",
    ),
    Tiny(
        model_type="blip-2",
        model="Blip2ForConditionalGeneration",
        processor="Blip2Processor",
        config={"vision_config": {**_TOWER, "model_type": "blip_2_vision_model"},
                "qformer_config": {"model_type": "blip_2_qformer", "hidden_size": 32,
                                   "num_hidden_layers": 2, "num_attention_heads": 4,
                                   "intermediate_size": 48, "encoder_hidden_size": 32},
                "text_config": {"model_type": "opt", "hidden_size": HIDDEN, "ffn_dim": 64,
                                "word_embed_proj_dim": HIDDEN, "num_hidden_layers": LAYERS,
                                "num_attention_heads": HEADS, "max_position_embeddings": 1024,
                                "pad_token_id": "</s>", "bos_token_id": "<s>",
                                "eos_token_id": "</s>", "tie_word_embeddings": False},
                "num_query_tokens": 6, "image_token_index": "<image>"},
        special=("<s>", "</s>", "<image>"),
        image={"image_processor_type": "BlipImageProcessor", "size": _SQUARE, **_NORMS},
        made_with={"num_query_tokens": 6},
        begins=True,
        pictures=1,
        notes="one picture a conversation; OPT only; no chat template: see below",
    ),
    _idefics("idefics3", "Idefics3ForConditionalGeneration", "Idefics3Processor",
             "SmolVLM 1 has this type; each tile is seen alone"),
    _idefics("smolvlm", "SmolVLMForConditionalGeneration", "SmolVLMProcessor",
             "SmolVLM 2; each tile is seen alone"),
    _qwen("qwen2_vl", "Qwen2VL", {"embed_dim": 32, "hidden_size": HIDDEN, "mlp_ratio": 2}),
    _qwen("qwen2_5_vl", "Qwen2_5_VL", {"hidden_size": 32, "out_hidden_size": HIDDEN,
                                       "intermediate_size": 48, "window_size": 16,
                                       "fullatt_block_indexes": [1]}),
    _qwen("qwen3_vl", "Qwen3VL", _QWEN_3_TOWER, _QWEN_3_TEXT, _DEEP),
    _qwen("qwen3_vl_moe", "Qwen3VLMoe", _QWEN_3_TOWER, {**_QWEN_3_TEXT, **_EXPERTS},
          f"mixture of experts; {_DEEP}"),
    _qwen("qwen3_5", "Qwen3_5", _QWEN_3_5_TOWER, _QWEN_3_5_TEXT,
          "also Qwen3.6 and Qwen3.8", "5.2", _DELTA),
    _qwen("qwen3_5_moe", "Qwen3_5Moe", _QWEN_3_5_TOWER,
          {**_QWEN_3_5_TEXT, **_EXPERTS, "shared_expert_intermediate_size": 32},
          "mixture of experts; also Qwen3.6", "5.2", _DELTA),
    _paligemma("", {"model_type": "gemma", "num_key_value_heads": 1},
               "no chat template: see below"),
    _paligemma("2", {"model_type": "gemma2", "sliding_window": 64, "attn_logit_softcapping": 5.0,
                     "query_pre_attn_scalar": HEAD_DIM}, "PaliGemma 2: soft caps, sliding layers"),
    Tiny(
        model_type="gemma3",
        model="Gemma3ForConditionalGeneration",
        processor="Gemma3Processor",
        config={"text_config": {**TEXT, "model_type": "gemma3_text", "head_dim": HEAD_DIM,
                                "num_hidden_layers": 3, "sliding_window": 16,
                                "sliding_window_pattern": 2, "query_pre_attn_scalar": HEAD_DIM},
                "vision_config": _SIGLIP, "mm_tokens_per_image": 4,
                "image_token_index": "<image_soft_token>", "boi_token_index": "<start_of_image>",
                "eoi_token_index": "<end_of_image>"},
        special=("<bos>", "<end_of_turn>", "<start_of_turn>", "<start_of_image>", "<end_of_image>",
                 "<image_soft_token>"),
        image={"image_processor_type": "Gemma3ImageProcessor", "size": _SQUARE, "resample": 2,
               "do_pan_and_scan": None, **_NORMS},
        made_with={"image_seq_length": 4},
        template=_template("<start_of_image>", "<start_of_turn>{{ m['role'] }}\n",
                           "<end_of_turn>\n", "<start_of_turn>model\n", before="{{ bos_token }}"),
        begins=True,
        named={"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>",
               "image_token": "<image_soft_token>"},
        attention="causal with sliding layers, each picture both ways",
        notes="without pan and scan",
    ),
    _gemma_4("", {"num_kv_shared_layers": 2, "hidden_size_per_layer_input": 8,
                  "vocab_size_per_layer_input": 0, "final_logit_softcapping": 30.0},
             "causal with sliding layers, the last layers share keys and values",
             "embeddings of each layer; with the sizes E2B and E4B"),
    _gemma_4("_moe", {"enable_moe_block": True, "num_experts": 4, "top_k_experts": 2,
                      "moe_intermediate_size": 32, "attention_k_eq_v": True,
                      "num_global_key_value_heads": 1, "hidden_size_per_layer_input": 0,
                      "use_bidirectional_attention": "vision", "final_logit_softcapping": 30.0},
             "causal with sliding layers, in which each picture attends both ways",
             "26B-A4B, a mixture of experts; so is 31B without experts", seed=6),
    Tiny(
        model_type="internvl",
        model="InternVLForConditionalGeneration",
        processor="InternVLProcessor",
        config={"text_config": {"model_type": "qwen2", **TEXT},
                "vision_config": {**_TOWER, "model_type": "internvl_vision",
                                  "image_size": [TILE, TILE], "patch_size": [PATCH, PATCH]},
                "image_token_id": "<IMG_CONTEXT>", "image_seq_length": 4,
                "downsample_ratio": 0.5, "vision_feature_layer": -1,
                "vision_feature_select_strategy": "default"},
        special=("<|endoftext|>", "<|im_end|>", "<|im_start|>", "<img>", "</img>",
                 "<IMG_CONTEXT>", "<video>"),
        image={"image_processor_type": "GotOcr2ImageProcessor", "size": _SQUARE, "resample": 3,
               "crop_to_patches": False, "min_patches": 1, "max_patches": 4, **_NORMS},
        made_with={"image_seq_length": 4},
        template=_template("<IMG_CONTEXT>\n", *_CHATML),
        named={"start_image_token": "<img>", "end_image_token": "</img>",
               "context_image_token": "<IMG_CONTEXT>", "video_token": "<video>"},
        notes="the layout of transformers; each tile is seen alone",
    ),
)  # fmt: skip


INSTALLED = tuple(tiny for tiny in TINY if hasattr(transformers, tiny.model))
"""Those that the installed transformers has; `test_transformers_5` runs the others."""


def save(tiny: Tiny, folder: Path, *, seed: int | None = None) -> Path:
    """Writes the model's folder."""
    config = save_files(tiny, folder)
    kind = getattr(transformers, tiny.model)
    dice = tiny.seed if seed is None else seed
    model = _scattered(kind(kind.config_class.from_dict(config)), dice)
    model.save_pretrained(folder)
    _write(folder / "config.json", {**config, "dtype": "float32", "torch_dtype": "float32"})
    end = config["eos_token_id"]
    _write(folder / "generation_config.json", {"eos_token_id": end, "pad_token_id": end})
    return folder


def save_files(tiny: Tiny, folder: Path) -> dict[str, Any]:
    """Writes all but the weights; returns config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(tiny)
    tokenizer.save_pretrained(folder)
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in tiny.special}
    config: dict[str, Any] = _with_ids(
        {"model_type": tiny.model_type, "architectures": [tiny.model],
         "tie_word_embeddings": False, "eos_token_id": tiny.special[1], **tiny.config}, ids,
    )  # fmt: skip
    text = config.get("text_config", config)
    for name in ("vocab_size", *({"vocab_size_per_layer_input"} & text.keys())):
        text[name] = len(tokenizer)
    _write(folder / "config.json", config)
    _write(folder / "preprocessor_config.json", tiny.image)
    _write(folder / "processor_config.json", tiny.made_with)
    if tiny.template is not None:
        (folder / "chat_template.jinja").write_text(tiny.template, encoding="utf-8")
    return config


def _tokenizer(tiny: Tiny) -> Any:
    vocabulary = {letter: index for index, letter in enumerate(["<unk>", *LETTERS])}
    fast = tokenizers.Tokenizer(BPE(vocabulary, [], unk_token="<unk>"))
    fast.decoder = decoders.Fuse()
    fast.add_special_tokens(list(tiny.special))
    first = tiny.special[0]
    if tiny.begins:
        fast.post_processor = processors.TemplateProcessing(
            single=f"{first} $A", pair=f"{first} $A {first} $B",
            special_tokens=[(first, fast.token_to_id(first))],
        )  # fmt: skip
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=fast, unk_token="<unk>", bos_token=first, eos_token=tiny.special[1],
        pad_token=tiny.special[1], extra_special_tokens=tiny.named, model_max_length=1024,
        model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip


def _scattered(model: Any, seed: int) -> Any:
    """Weights that are wide enough for each token, position and picture to matter."""
    dice = torch.Generator().manual_seed(seed)
    gemma = model.config.get_text_config().model_type.startswith("gemma")
    scale = HIDDEN**0.5 if gemma else 1.0  # by which Gemma multiplies its embeddings
    for name, weight in sorted(model.named_parameters()):
        if weight.dim() > 1:
            wide = 1.0 if "embed" in name or "query_tokens" in name else weight[0].numel() ** -0.5
            if "embed_tokens" in name:
                wide *= 0.5 / scale  # what the layers add should count for more
            weight.data.normal_(0, 1.6 * wide, generator=dice)
        elif name.endswith("bias"):
            weight.data.normal_(0, 0.1, generator=dice)
        elif name.endswith("A_log"):
            weight.data.uniform_(-6, 0, generator=dice)  # some heads remember for long
        elif name.endswith(
            ("image_newline", "class_embedding", "cls_token", "attn_gate", "mlp_gate")
        ):
            weight.data.normal_(0, 1, generator=dice)
    return model.float().eval()


def _with_ids(value: Any, ids: dict[str, int]) -> Any:
    if isinstance(value, dict):
        return {key: _with_ids(inner, ids) for key, inner in value.items()}
    return ids.get(value, value) if isinstance(value, str) else value


def _write(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values), encoding="utf-8")
