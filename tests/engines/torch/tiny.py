"""Tiny models of every family, with random weights, as folders like those that are published.

Each token of the tokenizers but the special ones is one character, so that a text tells its tokens.
"""

from __future__ import annotations

import json
import string
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers
from tokenizers import decoders, processors
from tokenizers.models import BPE

HIDDEN, HEADS, KV_HEADS, HEAD_DIM, LAYERS = 48, 4, 2, 12, 2
TILE, PATCH = 32, 8
SEED = 4
LETTERS = string.printable[:95] + "\n\u200b" + "".join(chr(code) for code in range(0xC0, 0x170))

_TEXT = {
    "hidden_size": HIDDEN,
    "intermediate_size": 64,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "max_position_embeddings": 1024,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
}
_TOWER = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": TILE,
    "patch_size": PATCH,
    "projection_dim": HIDDEN,
}
_CLIP = {"model_type": "clip_vision_model", **_TOWER}
_SIGLIP = {"model_type": "siglip_vision_model", "vision_use_head": False, **_TOWER}
_GRIDS = [[TILE, 2 * TILE], [2 * TILE, TILE], [2 * TILE, 2 * TILE]]
_NORMS = {"image_mean": [0.48, 0.45, 0.4], "image_std": [0.27, 0.26, 0.28]}
_SQUARE = {"height": TILE, "width": TILE}

_PARTS = (
    "{% for m in messages %}{{ FROM }}{% for c in m['content'] %}{% if c['type'] == 'image' %}"
    "{{ IMAGE }}{% else %}{{ c['text'] }}{% endif %}{% endfor %}{{ END }}{% endfor %}"
    "{% if add_generation_prompt %}{{ ASK }}{% endif %}"
)


def _template(image: str, begin: str, end: str, ask: str, before: str = "") -> str:
    """A chat template of the usual form; `begin` may use `m['role']`."""
    template = _PARTS.replace("{{ IMAGE }}", image).replace("{{ END }}", end)
    return before + template.replace("{{ FROM }}", begin).replace("{{ ASK }}", ask)


_CHATML = ("<|im_start|>{{ m['role'] }}\n", "<|im_end|>\n", "<|im_start|>assistant\n")


@dataclass(frozen=True)
class Tiny:
    """What a family's folder is made of.

    Attributes:
        model_type: As in config.json.
        model: The class in transformers.
        processor: Its processor there.
        config: The rest of config.json; names of special tokens are replaced by their ids.
        special: Special tokens, the first begins a text where `begins` is set, the second ends one.
        image: preprocessor_config.json.
        made_with: processor_config.json.
        template: The chat template, where there is one.
        begins: Whether the tokenizer puts the first special token before a text.
        named: Special tokens that the tokenizer knows by name.
        pictures: Most pictures in a conversation.
        attention: How the text model attends, for the table in the docs.
        notes: For the table in the docs.
        variant: Tells models of one type apart.
        seed: Of its weights; one with which no two tokens are almost equally likely.
        since: The first release of transformers that has its class, from 4.57 on.
    """

    model_type: str
    model: str
    processor: str
    config: dict[str, Any]
    special: tuple[str, ...]
    image: dict[str, Any]
    made_with: dict[str, Any] = field(default_factory=dict)
    template: str | None = None
    begins: bool = False
    named: dict[str, str] = field(default_factory=dict)
    pictures: int = 2
    attention: str = "causal"
    notes: str = ""
    variant: str = ""
    seed: int = SEED
    since: str = "4.57"

    @property
    def id(self) -> str:
        """For pytest."""
        return self.model_type + self.variant


_QWEN_TOKENS = (
    "<|endoftext|>", "<|im_end|>", "<|im_start|>", "<|vision_start|>", "<|vision_end|>",
    "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip


def _qwen(
    name: str,
    stem: str,
    vision: dict[str, Any],
    text: dict[str, Any] = {},  # noqa: B006 - only read
    notes: str = "as many tokens as a picture has cells",
    since: str = "4.57",
    attention: str = "causal, positions in three axes",
) -> Tiny:
    rope = {"type": "mrope", "mrope_section": [2, 2, 2]}
    return Tiny(
        model_type=name,
        model=f"{stem}ForConditionalGeneration",
        processor=f"{stem.removesuffix('Moe').replace('3_5', '3VL')}Processor",
        config={
            "text_config": {"model_type": f"{name}_text", "rope_scaling": rope, **_TEXT, **text},
            "vision_config": {"depth": 2, "num_heads": 4, "patch_size": 4, "in_channels": 3,
                              "spatial_merge_size": 2, "temporal_patch_size": 2, **vision},
            "image_token_id": "<|image_pad|>",
            "video_token_id": "<|video_pad|>",
            "vision_start_token_id": "<|vision_start|>",
            "vision_end_token_id": "<|vision_end|>",
        },
        special=_QWEN_TOKENS,
        image={"image_processor_type": "Qwen2VLImageProcessor", "patch_size": 4, "merge_size": 2,
               "temporal_patch_size": 2, "min_pixels": 256, "max_pixels": 1600, **_NORMS},
        template=_template("<|vision_start|><|image_pad|><|vision_end|>", *_CHATML),
        attention=attention,
        notes=notes,
        since=since,
    )  # fmt: skip


_QWEN_3_TOWER = {
    "hidden_size": 32,
    "out_hidden_size": HIDDEN,
    "intermediate_size": 48,
    "num_position_embeddings": 16,
    "deepstack_visual_indexes": [0, 1],
}
_QWEN_3_TEXT = {
    "head_dim": HEAD_DIM,
    "rope_scaling": {"rope_type": "default", "mrope_interleaved": True, "mrope_section": [2, 2, 2]},
}
_QWEN_3_5_TEXT = {
    "head_dim": 16,
    "num_hidden_layers": 4,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"] * 2,
    "rope_scaling": None,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 1e4,
        "partial_rotary_factor": 0.5,
        "mrope_interleaved": True,
        "mrope_section": [2, 1, 1],
    },
}
_QWEN_3_5_TOWER = {key: value for key, value in _QWEN_3_TOWER.items() if "deep" not in key}
_DELTA = "causal, positions in three axes; gated delta nets"
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
_DEEP = "features of several layers of the tower"


def _gemma_4(
    variant: str, text: dict[str, Any], attention: str, notes: str, seed: int = SEED
) -> Tiny:
    return Tiny(
        model_type="gemma4",
        model="Gemma4ForConditionalGeneration",
        processor="Gemma4Processor",
        config={"text_config": {**_TEXT, "model_type": "gemma4_text", "head_dim": HEAD_DIM,
                                "num_hidden_layers": 4, "sliding_window": 16,
                                "global_head_dim": 16, "layer_types":
                                ["sliding_attention", "full_attention"] * 2, **text},
                "vision_config": {"model_type": "gemma4_vision", "hidden_size": 32,
                                  "intermediate_size": 48, "num_hidden_layers": 2,
                                  "num_attention_heads": 4, "num_key_value_heads": 4,
                                  "head_dim": 8, "patch_size": 4, "pooling_kernel_size": 2,
                                  "position_embedding_size": 300},
                "audio_config": None, "image_token_id": "<|image|>", "boi_token_id": "<|image>",
                "eoi_token_id": "<image|>", "audio_token_id": "<|audio|>",
                "video_token_id": "<|video|>"},
        special=("<bos>", "<turn|>", "<|turn>", "<|image>", "<|image|>", "<image|>", "<|audio>",
                 "<|audio|>", "<audio|>", "<|video|>"),
        image={"image_processor_type": "Gemma4ImageProcessor", "patch_size": 4,
               "pooling_kernel_size": 2, "max_soft_tokens": 70},
        template=_template("<|image|>", "<|turn>{{ m['role'] }}\n", "<turn|>\n",
                           "<|turn>model\n", before="{{ bos_token }}"),
        begins=True,
        named={"boi_token": "<|image>", "eoi_token": "<image|>", "image_token": "<|image|>",
               "boa_token": "<|audio>", "eoa_token": "<audio|>", "audio_token": "<|audio|>"},
        attention=attention,
        notes=notes,
        variant=variant,
        seed=seed,
        since="5.5",
    )  # fmt: skip


_ROWS = tuple(f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5))


def _idefics(name: str, model: str, processor: str, notes: str) -> Tiny:
    return Tiny(
        model_type=name,
        model=model,
        processor=processor,
        config={
            "text_config": {"model_type": "llama", **_TEXT},
            "vision_config": {**_TOWER, "model_type": f"{name}_vision"},
            "scale_factor": 2,
            "image_token_id": "<image>",
        },
        special=("<|im_start|>", "<end_of_utterance>", "<fake_token_around_image>", "<image>",
                 "<global-img>", *_ROWS),
        image={"image_processor_type": model.removesuffix("ForConditionalGeneration")
               + "ImageProcessor", "do_image_splitting": True, "do_convert_rgb": True,
               "do_resize": True, "do_rescale": True, "do_normalize": True, "do_pad": True,
               "max_image_size": {"longest_edge": TILE}, "size": {"longest_edge": 2 * TILE},
               "resample": 1, **_NORMS},
        made_with={"image_seq_len": 4},
        template=_template("<image>", "{{ m['role'] }}: ", "<end_of_utterance>\n", "Assistant:",
                           before="<|im_start|>"),
        begins=True,
        notes=notes,
    )  # fmt: skip


def _paligemma(variant: str, text: dict[str, Any], notes: str) -> Tiny:
    return Tiny(
        model_type="paligemma",
        model="PaliGemmaForConditionalGeneration",
        processor="PaliGemmaProcessor",
        config={"text_config": {**_TEXT, "head_dim": HEAD_DIM, **text}, "vision_config": _SIGLIP,
                "projection_dim": HIDDEN, "hidden_size": HIDDEN, "image_token_index": "<image>"},
        special=("<bos>", "<eos>", "<image>"),
        image={"image_processor_type": "SiglipImageProcessor", "size": _SQUARE, "resample": 3,
               "image_seq_length": (TILE // PATCH) ** 2, **_NORMS},
        attention="the whole prompt both ways, answers causal",
        notes=notes,
        variant=variant,
    )  # fmt: skip


TINY = (
    Tiny(
        model_type="llava",
        model="LlavaForConditionalGeneration",
        processor="LlavaProcessor",
        config={"text_config": {"model_type": "llama", **_TEXT}, "vision_config": _CLIP,
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
        config={"text_config": {"model_type": "mistral", "sliding_window": None, **_TEXT},
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
        config={"text_config": {"model_type": "qwen2", **_TEXT}, "vision_config": _SIGLIP,
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
        config={"text_config": {**_TEXT, "model_type": "gemma3_text", "head_dim": HEAD_DIM,
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
        config={"text_config": {"model_type": "qwen2", **_TEXT},
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
