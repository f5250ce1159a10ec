"""Parts of the tiny models: the sizes they share, and builders for families of several models."""

from __future__ import annotations

import string
from dataclasses import dataclass, field
from typing import Any

HIDDEN, HEADS, KV_HEADS, HEAD_DIM, LAYERS = 48, 4, 2, 12, 2
TILE, PATCH = 32, 8
SEED = 4
LETTERS = string.printable[:95] + "\n\u200b" + "".join(chr(code) for code in range(0xC0, 0x170))

TEXT = {
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
            "text_config": {"model_type": f"{name}_text", "rope_scaling": rope, **TEXT, **text},
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
        config={"text_config": {**TEXT, "model_type": "gemma4_text", "head_dim": HEAD_DIM,
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
            "text_config": {"model_type": "llama", **TEXT},
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
        config={"text_config": {**TEXT, "head_dim": HEAD_DIM, **text}, "vision_config": _SIGLIP,
                "projection_dim": HIDDEN, "hidden_size": HIDDEN, "image_token_index": "<image>"},
        special=("<bos>", "<eos>", "<image>"),
        image={"image_processor_type": "SiglipImageProcessor", "size": _SQUARE, "resample": 3,
               "image_seq_length": (TILE // PATCH) ** 2, **_NORMS},
        attention="the whole prompt both ways, answers causal",
        notes=notes,
        variant=variant,
    )  # fmt: skip
