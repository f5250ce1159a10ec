"""Reads the shape of a vision-language model's decoder: layers, heads, context and KV cache."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from silkline.errors import ConfigError
from silkline.models.documents import Document

BYTES_PER_NUMBER = {"float32": 4, "bfloat16": 2, "float16": 2, "int8": 1}
"""Bytes of an element in the KV cache by dtype; int8 without its scales."""


class Sliding(msgspec.Struct, frozen=True):
    """Layers with sliding-window attention.

    Attributes:
        layers: Number of such layers.
        window: Length of the window in tokens.
    """

    layers: int
    window: int


class Wide(msgspec.Struct, frozen=True):
    """Layers with full attention beside sliding ones, as in Gemma 4.

    Attributes:
        layers: Number of such layers.
        kv_heads: Their key and value heads.
        head_dim: Width of such a head.
    """

    layers: int
    kv_heads: int
    head_dim: int


class Decoder(msgspec.Struct, frozen=True):
    """A decoder's shape.

    Attributes:
        model_type: `model_type` of transformers, such as "llama".
        layers: Layers with a KV cache.
        hidden: Width of the residual stream.
        heads: Query heads.
        kv_heads: Key and value heads.
        head_dim: Width of a head.
        context_length: Maximum number of tokens of prompt and answer together.
        sliding: Layers with sliding-window attention, if there are any.
        wide: Layers with full attention whose keys and values have a size of their own.
    """

    model_type: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    context_length: int | None
    sliding: Sliding | None = None
    wide: Wide | None = None

    def kv_bytes_per_token(self, dtype: str) -> int:
        """Bytes of a token in the KV cache: a key and a value in every layer.

        Tokens that have left the window of sliding layers take less.
        """
        wide = self.wide or Wide(0, 0, 0)
        numbers = (self.layers - wide.layers) * self.kv_heads * self.head_dim
        numbers += wide.layers * wide.kv_heads * wide.head_dim
        return 2 * numbers * BYTES_PER_NUMBER[dtype]


class _Default(NamedTuple):
    """Defaults of a config class of transformers 4.57 for keys missing in config.json."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int | None
    head_dim: int | None
    context: int


_DEFAULTS = {
    "gemma": _Default(3072, 28, 16, 16, 256, 8192),
    "gemma2": _Default(2304, 26, 8, 4, 256, 8192),
    "gemma3_text": _Default(2304, 26, 8, 4, 256, 131072),
    "gemma4_text": _Default(2304, 30, 8, 4, 256, 131072),
    "llama": _Default(4096, 32, 32, None, None, 2048),
    "mistral": _Default(4096, 32, 32, 8, None, 131072),
    "opt": _Default(768, 12, 12, None, None, 2048),
    "phi3": _Default(3072, 32, 32, None, None, 4096),
    "qwen2": _Default(4096, 32, 32, 32, None, 32768),
    "qwen2_vl_text": _Default(8192, 80, 64, 8, None, 32768),
    "qwen2_5_vl_text": _Default(8192, 80, 64, 8, None, 32768),
    "qwen3": _Default(4096, 32, 32, 32, 128, 32768),
    "qwen3_5_text": _Default(4096, 32, 16, 4, 256, 32768),
    "qwen3_5_moe_text": _Default(2048, 40, 16, 2, 256, 32768),
    "qwen3_vl_text": _Default(4096, 32, 32, 32, 128, 128000),
    "qwen3_vl_moe_text": _Default(2048, 24, 16, 16, None, 128000),
}
"""`kv_heads` None means the same as `heads`, `head_dim` None means hidden / heads."""

_NO_DEFAULT = _Default(0, 0, 0, None, None, 0)
_GEMMA_PATTERN = 6
"""In Gemma 3 and 4, the last layer of every group of this size has full attention."""

_GEMMA_4_HEAD = 512
"""Width of the heads of Gemma 4's layers with full attention if the file does not say."""

_WITH_CACHE = frozenset({"full_attention", "sliding_attention", "chunked_attention"})

_DELTA_NETS = frozenset({"qwen3_5_text", "qwen3_5_moe_text"})
"""Decoders in which one layer of every `_FULL_EVERY` has keys and values."""

_FULL_EVERY = 4

_MAX_LAYERS = 10_000


def read_decoder(config: Document, text_type: str | None) -> Decoder | None:
    """Reads a decoder's shape from config.json.

    Args:
        config: config.json; the decoder is in `text_config` or `llm_config`, or, in older files of
            Qwen2-VL, among the top-level keys.
        text_type: The decoder's `model_type` if the file does not say.

    Returns:
        The shape; None if a key without a default is missing, or if the language model has an
        encoder (T5), whose cache does not grow per token.

    Raises:
        ConfigError: A value is not a number, or out of range.
    """
    text = config.section("text_config") or config.section("llm_config") or config
    model_type = text_type if text is config else text.text("model_type") or text_type
    default = _DEFAULTS.get(model_type or "", _NO_DEFAULT)
    hidden = text.number("hidden_size") or default.hidden
    layers = text.number("num_hidden_layers") or default.layers
    heads = text.number("num_attention_heads") or default.heads
    if model_type is None or not (hidden and layers and heads):
        return None
    if layers > _MAX_LAYERS or heads > hidden:
        raise ConfigError(
            f"In {text.name}, {layers} layers of {heads} heads with a width of {hidden} are not a "
            "possible shape. Download the file again from where it was published."
        )
    kinds = _kinds(text, model_type, layers)
    kv_heads = text.number("num_key_value_heads") or default.kv_heads or heads
    return Decoder(
        model_type=model_type,
        layers=len(kinds) or layers,
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=text.number("head_dim") or default.head_dim or hidden // heads,
        context_length=text.number("max_position_embeddings") or default.context or None,
        sliding=_sliding(text, model_type, layers, kinds),
        wide=_wide(text, kinds, kv_heads) if model_type == "gemma4_text" else None,
    )


def _kinds(text: Document, model_type: str, layers: int) -> list[str]:
    """The types of the layers that store keys and values; empty if the file does not list them."""
    kinds = list(text.texts("layer_types"))
    if not kinds and model_type in _DELTA_NETS:
        every = text.number("full_attention_interval") or _FULL_EVERY
        kinds = ["full_attention"] * (layers // every)
    elif not kinds and model_type == "gemma4_text":
        kinds = [
            "sliding_attention" if (layer + 1) % _GEMMA_PATTERN and layer + 1 < layers
            else "full_attention" for layer in range(layers)
        ]  # fmt: skip
    own = max(0, layers - (text.number("num_kv_shared_layers") or 0))
    return [kind for kind in kinds[:own] if kind in _WITH_CACHE]


def _wide(text: Document, kinds: list[str], kv_heads: int) -> Wide:
    own = text.number("num_global_key_value_heads") if text.flag("attention_k_eq_v") else None
    head_dim = text.number("global_head_dim") or _GEMMA_4_HEAD
    return Wide(kinds.count("full_attention"), own or kv_heads, head_dim)


def _sliding(text: Document, model_type: str, layers: int, kinds: list[str]) -> Sliding | None:
    """Sliding layers: from `layer_types`, or by the alternation of Gemma 2 and 3."""
    if kinds:
        count = kinds.count("sliding_attention")
    elif model_type == "gemma3_text":
        every = text.number("sliding_window_pattern") or _GEMMA_PATTERN
        count = layers - layers // every
    elif model_type == "gemma2":
        count = (layers + 1) // 2
    else:
        return None
    window = text.number("sliding_window") or 4096
    return Sliding(count, window) if count else None
