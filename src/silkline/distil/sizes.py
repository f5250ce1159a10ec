"""How large a student is, and which parts of the teacher it keeps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from silkline.errors import ConfigError

TOWERS = ("clip_vision_model", "siglip_vision_model")
DECODERS = ("llama", "mistral", "qwen2", "qwen3")
_MULTIPLE = 8
"""Neurons are kept in multiples of this."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """What is asked of a student.

    Attributes:
        layers: Share of the teacher's layers, in tower and decoder, above 0 and at most 1.
        width: Share of its attention heads and neurons, and with them of its width.
        image_tokens: Tokens of an image; None keeps the teacher's.
    """

    layers: float = 0.5
    width: float = 0.5
    image_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Stack:
    """The sizes of a tower or a decoder.

    Attributes:
        layers: The teacher's layers that are kept, by index.
        width: Channels of the residual stream.
        heads: Attention heads.
        groups: Heads of keys and values.
        neurons: Of a layer's feed-forward part.
    """

    layers: tuple[int, ...]
    width: int
    heads: int
    groups: int
    neurons: int


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a student.

    Attributes:
        tower: Of its vision tower.
        decoder: Of its decoder.
        patch: Edge of a patch in pixels.
    """

    tower: Stack
    decoder: Stack
    patch: int


def shape_of(config: Any, sizes: Sizes) -> Shape:
    """Returns the sizes of a student of a teacher with this configuration.

    Raises:
        ConfigError: The teacher is not of the LLaVA layout, or the image tokens do not fit it.
    """
    _check_layout(config)
    vision, text = config.vision_config, config.get_text_config()
    tower = _stack(vision, used_layers(config), sizes)
    decoder = _stack(text, text.num_hidden_layers, sizes)
    return Shape(tower, decoder, _patch(vision, sizes.image_tokens))


def spread(count: int, total: int) -> tuple[int, ...]:
    """Returns `count` indices below `total`, evenly, the first and the last among them.

    A single one is the middle.
    """
    if count == 1:
        return (total // 2,)
    return tuple(round(number * (total - 1) / (count - 1)) for number in range(count))


def used_layers(config: Any) -> int:
    """Returns the number of the tower's layers that the image's features have passed."""
    layers: int = config.vision_config.num_hidden_layers
    index: int = config.vision_feature_layer
    return index if index >= 0 else layers + 1 + index


def _check_layout(config: Any) -> None:
    vision, text = config.vision_config.model_type, config.get_text_config().model_type
    fits = config.model_type == "llava" and vision in TOWERS and text in DECODERS
    if not fits or not isinstance(config.vision_feature_layer, int):
        raise ConfigError(
            f"A {config.model_type} with {vision} and {text} cannot be a teacher. Expected a llava "
            f"with one of {', '.join(TOWERS)}, one of {', '.join(DECODERS)}, and one "
            "vision_feature_layer."
        )


def _stack(config: Any, layers: int, sizes: Sizes) -> Stack:
    heads: int = config.num_attention_heads
    groups: int = getattr(config, "num_key_value_heads", None) or heads
    kept = max(1, round(groups * sizes.width))
    neurons = _MULTIPLE * max(1, round(config.intermediate_size * sizes.width / _MULTIPLE))
    return Stack(
        layers=spread(max(1, round(layers * sizes.layers)), layers),
        width=config.hidden_size * kept // groups,
        heads=kept * (heads // groups),
        groups=kept,
        neurons=min(neurons, config.intermediate_size),
    )


def _patch(vision: Any, tokens: int | None) -> int:
    edge, patch = vision.image_size, vision.patch_size
    if tokens is None:
        return int(patch)
    side = math.isqrt(tokens)
    possible = _possible(edge, patch)
    if tokens not in possible:
        raise ConfigError(
            f"A student of images of {edge} pixels cannot have {tokens} image tokens. Expected one "
            f"of {', '.join(map(str, possible))}."
        )
    return int(edge // side)


def _possible(edge: int, patch: int) -> Sequence[int]:
    sides = [edge // size for size in range(patch, edge + 1) if edge % size == 0]
    return [side * side for side in sides]
