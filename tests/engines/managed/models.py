"""Small folders that look like models to whoever does not load them."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

CHILD = "import time; time.sleep(600)  # a stand-in's child"
"""What a server's own process runs, in the tests of its end."""

LLAVA: dict[str, Any] = {
    "architectures": ["LlavaForConditionalGeneration"],
    "model_type": "llava",
    "image_seq_length": 16,
    "vision_feature_select_strategy": "default",
    "text_config": {
        "model_type": "llama", "hidden_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 8192,
    },
    "vision_config": {"model_type": "clip_vision_model", "image_size": 64, "patch_size": 16},
}  # fmt: skip
"""16 tokens a picture, as the fake engine's; 256 bytes of KV cache a token in 16 bits."""


def llava_folder(folder: Path) -> Path:
    """Safetensors and JSON files, without a single weight."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(LLAVA))
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 2) + b"{}")
    tokens = {"0": {"content": "<image>"}, "1": {"content": "</s>"}}
    (folder / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": tokens}))
    return folder


def gguf_folder(folder: Path) -> Path:
    """A model and a projector, without tensors."""
    folder.mkdir(exist_ok=True)
    (folder / "tiny-f16.gguf").write_bytes(gguf(GGUF_MODEL))
    (folder / "mmproj-tiny-f16.gguf").write_bytes(gguf(GGUF_PROJECTOR))
    return folder


GGUF_MODEL: dict[str, Any] = {
    "general.architecture": "llama",
    "llama.context_length": 8192,
    "llama.block_count": 2,
    "llama.embedding_length": 32,
    "llama.attention.head_count": 2,
    "llama.attention.head_count_kv": 2,
    "tokenizer.ggml.tokens": ["a", "<image>", "</s>"],
    "tokenizer.ggml.token_type": [1, 3, 3],
}
GGUF_PROJECTOR: dict[str, Any] = {
    "general.architecture": "clip",
    "clip.projector_type": "mlp",
    "clip.vision.image_size": 64,
    "clip.vision.patch_size": 16,
}


def gguf(values: dict[str, Any]) -> bytes:
    """The metadata of a GGUF of version 3."""
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, len(values))
    return head + b"".join(_text(key) + _typed(value) for key, value in values.items())


def _typed(value: Any) -> bytes:
    if isinstance(value, list):
        items = [_typed(item) for item in value]
        kind = items[0][:4]
        return struct.pack("<I", 9) + kind + struct.pack("<Q", len(items)) + b"".join(
            item[4:] for item in items
        )  # fmt: skip
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value)
    return struct.pack("<II", 4, value)


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data
