"""The metadata of GGUF files."""

from __future__ import annotations

from typing import Any

from silkline.engines.managed.llamacpp import kv_bytes_per_token, projector_rule, reserved_tokens
from tests.engines.managed.models import GGUF_MODEL, GGUF_PROJECTOR


def test_the_cache_of_a_token() -> None:
    assert kv_bytes_per_token(GGUF_MODEL) == 2 * 2 * 2 * 16 * 2
    assert kv_bytes_per_token({**GGUF_MODEL, "llama.attention.head_count_kv": [1, 0]}) == 64
    assert kv_bytes_per_token({**GGUF_MODEL, "llama.attention.key_length": 32}) == 4 * 48 * 2
    assert kv_bytes_per_token({}) is None
    many = {**GGUF_MODEL, "llama.block_count": 2**32 - 1}
    assert kv_bytes_per_token(many) == (2**32 - 1) * 2 * 2 * 16 * 2


def test_the_tokens_of_a_picture() -> None:
    rule = projector_rule(GGUF_PROJECTOR)
    assert rule is not None
    assert rule.maximum().total == 16
    assert projector_rule({**GGUF_PROJECTOR, "clip.projector_type": "resampler"}) is None


def test_control_tokens_are_reserved_and_what_the_template_marks_turns_with() -> None:
    data: dict[str, Any] = {
        "tokenizer.ggml.tokens": ["a", "<image>", "<|User|>", "<loc1>", "User"],
        "tokenizer.ggml.token_type": [1, 3, 4, 4, 1],
    }
    assert reserved_tokens(data) == {"<image>"}
    template = {"tokenizer.chat_template": "<|User|>{{ content }}"}
    assert reserved_tokens({**data, **template}) == {"<image>", "<|User|>"}
    assert reserved_tokens({}) == frozenset()
