"""Models without weights: reduced configs of published models, and safetensors files of zeros."""

import json
import struct
from pathlib import Path
from typing import Any

CLIP = {"model_type": "clip_vision_model", "image_size": 336, "patch_size": 14}
SIGLIP_384 = {"model_type": "siglip_vision_model", "image_size": 384, "patch_size": 14}
NEXT_GRIDS = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]

LLAVA_15_7B: dict[str, Any] = {
    "config.json": {
        "architectures": ["LlavaForConditionalGeneration"],
        "model_type": "llava",
        "text_config": {"model_type": "llama", "max_position_embeddings": 4096},
        "vision_config": CLIP,
        "vision_feature_select_strategy": "default",
    },
    "preprocessor_config.json": {
        "crop_size": 336,
        "do_center_crop": True,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "resample": 3,
        "rescale_factor": 0.00392156862745098,
        "size": {"shortest_edge": 336},
    },
}
"""llava-hf/llava-1.5-7b-hf, whose text_config leaves the layers to the defaults of Llama."""

LLAVA_NEXT_MISTRAL: dict[str, Any] = {
    "config.json": {
        "architectures": ["LlavaNextForConditionalGeneration"],
        "model_type": "llava_next",
        "image_grid_pinpoints": NEXT_GRIDS,
        "text_config": {
            "model_type": "mistral",
            "max_position_embeddings": 32768,
            "num_key_value_heads": 8,
            "sliding_window": None,
        },
        "vision_config": CLIP,
    },
    "preprocessor_config.json": {
        "image_grid_pinpoints": NEXT_GRIDS,
        "size": {"shortest_edge": 336},
    },
}
"""llava-hf/llava-v1.6-mistral-7b-hf."""

LLAVA_ONEVISION: dict[str, Any] = {
    "config.json": {
        "architectures": ["LlavaOnevisionForConditionalGeneration"],
        "model_type": "llava_onevision",
        "text_config": {
            "model_type": "qwen2",
            "hidden_size": 896,
            "num_hidden_layers": 24,
            "num_attention_heads": 14,
            "num_key_value_heads": 2,
        },
        "vision_aspect_ratio": "anyres_max_9",
        "vision_config": SIGLIP_384,
        "vision_feature_select_strategy": "full",
    },
}
"""llava-hf/llava-onevision-qwen2-0.5b-ov-hf."""

BLIP_2_OPT: dict[str, Any] = {
    "config.json": {
        "architectures": ["Blip2ForConditionalGeneration"],
        "model_type": "blip-2",
        "num_query_tokens": 32,
        "text_config": {
            "model_type": "opt",
            "hidden_size": 2560,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
        },
    },
}
"""Salesforce/blip2-opt-2.7b."""

SMOLVLM_500M: dict[str, Any] = {
    "config.json": {
        "architectures": ["Idefics3ForConditionalGeneration"],
        "model_type": "idefics3",
        "scale_factor": 4,
        "text_config": {
            "model_type": "llama",
            "hidden_size": 960,
            "head_dim": 64,
            "num_hidden_layers": 32,
            "num_attention_heads": 15,
            "num_key_value_heads": 5,
            "max_position_embeddings": 8192,
        },
        "vision_config": {"model_type": "idefics3_vision", "image_size": 512, "patch_size": 16},
    },
    "preprocessor_config.json": {
        "do_image_splitting": True,
        "max_image_size": {"longest_edge": 512},
        "resample": 1,
        "size": {"longest_edge": 2048},
    },
    "processor_config.json": {"image_seq_len": 64},
}
"""HuggingFaceTB/SmolVLM-500M-Instruct."""

QWEN2_VL_7B: dict[str, Any] = {
    "config.json": {
        "architectures": ["Qwen2VLForConditionalGeneration"],
        "model_type": "qwen2_vl",
        "hidden_size": 3584,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "max_position_embeddings": 32768,
        "vision_config": {"patch_size": 14, "spatial_merge_size": 2},
    },
    "preprocessor_config.json": {
        "min_pixels": 3136,
        "max_pixels": 12845056,
        "patch_size": 14,
        "merge_size": 2,
    },
}
"""Qwen/Qwen2-VL-7B-Instruct, whose decoder stands among the model's own keys."""

QWEN2_5_VL_3B: dict[str, Any] = {
    "config.json": {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "model_type": "qwen2_5_vl",
        "hidden_size": 2048,
        "num_hidden_layers": 36,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128000,
    },
    "preprocessor_config.json": {"min_pixels": 3136, "max_pixels": 12845056},
}
"""Qwen/Qwen2.5-VL-3B-Instruct."""

QWEN3_VL_4B: dict[str, Any] = {
    "config.json": {
        "architectures": ["Qwen3VLForConditionalGeneration"],
        "model_type": "qwen3_vl",
        "text_config": {
            "model_type": "qwen3_vl_text",
            "hidden_size": 2560,
            "num_hidden_layers": 36,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "max_position_embeddings": 262144,
        },
        "vision_config": {"model_type": "qwen3_vl", "patch_size": 16, "spatial_merge_size": 2},
    },
    "preprocessor_config.json": {
        "size": {"longest_edge": 16777216, "shortest_edge": 65536},
        "patch_size": 16,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_processor_type": "Qwen2VLImageProcessorFast",
    },
}
"""Qwen/Qwen3-VL-4B-Instruct."""

QWEN3_VL_30B_A3B: dict[str, Any] = {
    "config.json": {
        "architectures": ["Qwen3VLMoeForConditionalGeneration"],
        "model_type": "qwen3_vl_moe",
        "text_config": {
            "model_type": "qwen3_vl_moe_text",
            "hidden_size": 2048,
            "num_hidden_layers": 48,
            "num_attention_heads": 32,
            "num_key_value_heads": 4,
            "head_dim": 128,
            "max_position_embeddings": 262144,
        },
    },
    "preprocessor_config.json": QWEN3_VL_4B["preprocessor_config.json"],
}
"""Qwen/Qwen3-VL-30B-A3B-Instruct."""

QWEN3_5: dict[str, Any] = {
    "config.json": {
        "architectures": ["Qwen3_5ForConditionalGeneration"],
        "model_type": "qwen3_5",
        "text_config": {"model_type": "qwen3_5_text", "full_attention_interval": 4},
    },
    "preprocessor_config.json": QWEN3_VL_4B["preprocessor_config.json"],
}
"""Qwen3.5 with the sizes that transformers takes if config.json has none."""

QWEN3_5_MOE: dict[str, Any] = {
    "config.json": {
        "architectures": ["Qwen3_5MoeForConditionalGeneration"],
        "model_type": "qwen3_5_moe",
        "text_config": {
            "model_type": "qwen3_5_moe_text",
            "layer_types": [*["linear_attention"] * 3, "full_attention"] * 10,
        },
    },
    "preprocessor_config.json": QWEN3_VL_4B["preprocessor_config.json"],
}
"""Its mixture of experts, likewise."""

GEMMA_4: dict[str, Any] = {
    "config.json": {
        "architectures": ["Gemma4ForConditionalGeneration"],
        "model_type": "gemma4",
        "text_config": {"model_type": "gemma4_text"},
    },
    "preprocessor_config.json": {"image_processor_type": "Gemma4ImageProcessor"},
}
"""Gemma 4, likewise."""

PALIGEMMA_448: dict[str, Any] = {
    "config.json": {
        "architectures": ["PaliGemmaForConditionalGeneration"],
        "model_type": "paligemma",
        "text_config": {
            "model_type": "gemma",
            "hidden_size": 2048,
            "num_hidden_layers": 18,
            "num_attention_heads": 8,
            "num_key_value_heads": 1,
        },
        "vision_config": {"image_size": 448, "patch_size": 14},
    },
    "preprocessor_config.json": {
        "image_seq_length": 1024,
        "size": {"height": 448, "width": 448},
        "resample": 3,
        "image_mean": [0.5, 0.5, 0.5],
    },
}
"""google/paligemma-3b-pt-448."""

GEMMA_3_4B: dict[str, Any] = {
    "config.json": {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "model_type": "gemma3",
        "mm_tokens_per_image": 256,
        "text_config": {
            "model_type": "gemma3_text",
            "hidden_size": 2560,
            "num_hidden_layers": 34,
            "sliding_window": 1024,
        },
        "vision_config": {"image_size": 896, "patch_size": 14},
    },
    "preprocessor_config.json": {"do_pan_and_scan": None, "size": {"height": 896, "width": 896}},
}
"""google/gemma-3-4b-it, whose text_config leaves the heads to the defaults of Gemma 3."""

INTERNVL3_1B: dict[str, Any] = {
    "config.json": {
        "architectures": ["InternVLForConditionalGeneration"],
        "model_type": "internvl",
        "image_seq_length": 256,
        "text_config": {
            "model_type": "qwen2",
            "hidden_size": 896,
            "num_hidden_layers": 24,
            "num_attention_heads": 14,
            "num_key_value_heads": 2,
        },
        "vision_config": {"image_size": [448, 448], "patch_size": [14, 14]},
    },
    "preprocessor_config.json": {
        "crop_to_patches": False,
        "min_patches": 1,
        "max_patches": 12,
        "size": {"height": 448, "width": 448},
    },
}
"""OpenGVLab/InternVL3-1B-hf; its processor cuts tiles although the file says otherwise."""

INTERNVL2_2B: dict[str, Any] = {
    "config.json": {
        "architectures": ["InternVLChatModel"],
        "auto_map": {"AutoModel": "modeling_internvl_chat.InternVLChatModel"},
        "model_type": "internvl_chat",
        "downsample_ratio": 0.5,
        "dynamic_image_size": True,
        "force_image_size": 448,
        "llm_config": {
            "model_type": "internlm2",
            "hidden_size": 2048,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "max_position_embeddings": 32768,
        },
        "max_dynamic_patch": 12,
        "min_dynamic_patch": 1,
        "use_thumbnail": True,
        "vision_config": {"image_size": 448, "patch_size": 14},
    },
}
"""OpenGVLab/InternVL2-2B."""

PUBLISHED = (
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
    INTERNVL2_2B,
)

BESIDE: dict[str, Any] = {
    "preprocessor_config.json": {"do_resize": True},
    "tokenizer.json": {
        "model": {"type": "BPE", "vocab": {}, "merges": []},
        "added_tokens": [{"id": 0, "content": "<image>", "special": True}],
    },
    "chat_template.json": {"chat_template": "{{ messages[0]['content'] }}"},
}
"""What a whole model has besides its config and its weights."""

LANGUAGE_WEIGHTS = {"language_model.model.layers.0.weight": ("F16", [10])}

BITS = {"F32": 32, "F16": 16, "BF16": 16, "I8": 8, "F4": 4}


def save(folder: Path, files: dict[str, Any]) -> Path:
    """Writes a model's JSON files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return folder


def save_whole(folder: Path, files: dict[str, Any]) -> Path:
    """Writes a model that lacks nothing that engines look for, with one tensor."""
    save_tensors(save(folder, BESIDE | files) / "model.safetensors", LANGUAGE_WEIGHTS)
    return folder


GRAPHS = (
    "language_model",
    "text_embeddings_model",
    "vision_embeddings_model",
    "tokenizer",
    "detokenizer",
)
"""Of OpenVINO IR."""


def save_export(folder: Path, files: dict[str, Any]) -> Path:
    """Writes a folder with OpenVINO IR that lacks nothing; its graphs are empty."""
    save(folder, BESIDE | files)
    for name in GRAPHS:
        (folder / f"openvino_{name}.xml").write_bytes(b"<net></net>")
        (folder / f"openvino_{name}.bin").touch()
    return folder


def header_of(tensors: dict[str, tuple[str, list[int]]]) -> tuple[bytes, int]:
    """A right header for tensors of these dtypes and shapes, and the bytes that follow it."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, shape) in tensors.items():
        bits = BITS[dtype]
        for length in shape:
            bits *= length
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + bits // 8]}
        end += bits // 8
    return json.dumps(entries).encode(), end


def save_tensors(path: Path, tensors: dict[str, tuple[str, list[int]]]) -> Path:
    """Writes a safetensors file whose data is a hole: it takes no room."""
    header, size = header_of(tensors)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + size)
    return path
