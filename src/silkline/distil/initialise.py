"""Makes a student of a teacher: the same architecture, smaller, with the teacher's weights.

Which weights a student takes:

- layers: evenly spaced over the teacher's, the first and the last among them;
- channels, attention heads (whole groups that share keys and values) and neurons: those with the
  largest mean absolute activation on sample images, each layer with its own heads and neurons;
- patches: where they are larger, each weight is spread over the pixels that took its pixel's place,
  and positions are interpolated. Before training, the student then sees a reduced image.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from silkline.distil.importance import Importance, measured, strongest
from silkline.distil.sizes import Shape, Stack

_LAYER = re.compile(r"(.*\.layers\.)(\d+)(\..*)")


@dataclass(frozen=True, slots=True)
class _Kept:
    """The indices that a tower or a decoder keeps, by what they count; heads and neurons by layer.

    Attributes:
        channels: Of the residual stream.
        queries: Channels of the attention's queries and outputs.
        keys: Channels of keys and values.
        neurons: Of the feed-forward part.
    """

    channels: Tensor
    queries: dict[int, Tensor]
    keys: dict[int, Tensor]
    neurons: dict[int, Tensor]

    def of(self, kind: str, layer: int) -> Tensor:
        """Returns the indices that an axis keeps."""
        if kind == "channels":
            return self.channels
        found: dict[int, Tensor] = getattr(self, kind)
        return found[layer]


_AXES: Mapping[str, tuple[str, str]] = {
    "q_proj": ("queries", "channels"),
    "k_proj": ("keys", "channels"),
    "v_proj": ("keys", "channels"),
    "o_proj": ("channels", "queries"),
    "out_proj": ("channels", "queries"),
    "fc1": ("neurons", "channels"),
    "gate_proj": ("neurons", "channels"),
    "up_proj": ("neurons", "channels"),
    "fc2": ("channels", "neurons"),
    "down_proj": ("channels", "neurons"),
}
"""What the two axes of a layer's matrices count; a bias has the first. Other weights of a layer are
norms over the channels, or over a head's channels, which are all kept."""

_TABLES = frozenset({"embed_tokens", "lm_head"})
_HEAD_NORMS = frozenset({"q_norm", "k_norm"})


def make_student(teacher: Any, shape: Shape, look: Callable[[], None]) -> Any:
    """Creates a student with the teacher's weights, on the teacher's device.

    Args:
        teacher: A model of the LLaVA layout.
        shape: The student's sizes, as `sizes.shape_of` gives them.
        look: Runs the teacher on sample images, to measure what it uses most.
    """
    config = teacher.config
    tower, decoder = _layers(teacher.model.vision_tower), teacher.model.language_model.layers
    vision, text = config.vision_config, config.get_text_config()
    with (
        torch.no_grad(),
        measured(tower, vision.hidden_size) as seen,
        measured(decoder, text.hidden_size) as said,
    ):
        look()
    eyes = _kept(seen, shape.tower, vision.hidden_size // vision.num_attention_heads)
    voice = _kept(said, shape.decoder, _head_size(text))
    student = type(teacher)(_config(config, shape)).to(teacher.device, torch.float32)
    student.generation_config = copy.deepcopy(teacher.generation_config)
    source = {name: value.float() for name, value in teacher.state_dict().items()}
    chosen = {
        name: _taken(source, name, value, (eyes, voice), shape)
        for name, value in student.state_dict().items()
    }
    student.load_state_dict(chosen)
    return student


def _layers(tower: nn.Module) -> nn.ModuleList:
    inner: Any = getattr(tower, "vision_model", tower)
    found: nn.ModuleList = inner.encoder.layers
    return found


def _head_size(text: Any) -> int:
    size: int = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return size


def _kept(found: Importance, stack: Stack, head: int) -> _Kept:
    """Chooses what a stack keeps, by the student's layers."""
    together = head * stack.heads // stack.groups
    queries, keys, neurons = {}, {}, {}
    for index, layer in enumerate(stack.layers):
        queries[index] = strongest(found.heads[layer], stack.heads * head, together)
        groups = queries[index][::together] // together
        keys[index] = (groups[:, None] * head + torch.arange(head)).flatten()
        neurons[index] = strongest(found.neurons[layer], stack.neurons)
    return _Kept(strongest(found.channels, stack.width), queries, keys, neurons)


def _config(config: Any, shape: Shape) -> Any:
    """The student's configuration."""
    found = copy.deepcopy(config)
    vision, text = found.vision_config, found.get_text_config()
    text.head_dim = _head_size(text)
    for part, stack in ((vision, shape.tower), (text, shape.decoder)):
        part.num_hidden_layers = len(stack.layers)
        part.hidden_size, part.intermediate_size = stack.width, stack.neurons
        part.num_attention_heads = stack.heads
    text.num_key_value_heads = shape.decoder.groups
    if getattr(text, "layer_types", None):
        text.layer_types = [text.layer_types[layer] for layer in shape.decoder.layers]
    vision.patch_size = shape.patch
    vision.vision_use_head = False  # of SigLIP: it pools the patches, which a VLM does not ask for
    found.vision_feature_layer = -1
    whole = int(found.vision_feature_select_strategy == "full" and _has_class(vision))
    found.image_seq_length = (vision.image_size // shape.patch) ** 2 + whole
    return found


def _has_class(vision: Any) -> bool:
    return bool(vision.model_type == "clip_vision_model")


def _taken(
    source: Mapping[str, Tensor],
    name: str,
    target: Tensor,
    parts: tuple[_Kept, _Kept],
    shape: Shape,
) -> Tensor:
    """The part of the teacher's weight that a student's weight takes."""
    eyes, voice = parts
    kept, stack = (eyes, shape.tower) if "vision_tower" in name else (voice, shape.decoder)
    layer, origin = 0, name
    if match := _LAYER.fullmatch(name):
        layer = int(match[2])
        origin = f"{match[1]}{stack.layers[layer]}{match[3]}"
    weight = source[origin]
    module = name.split(".")[-2]
    if module == "patch_embedding" and weight.ndim > 1:
        return _spread(weight[kept.channels], shape.patch)
    if module == "position_embedding":
        return _positions(weight[:, kept.channels], len(target))
    if module in _HEAD_NORMS:
        return weight
    if module in _TABLES:
        return weight[:, kept.channels]
    if module == "linear_1" and weight.ndim > 1:
        return weight[voice.channels][:, eyes.channels]
    first, second = _AXES.get(module, ("channels", "channels"))
    weight = weight[kept.of(first, layer)]
    return weight[:, kept.of(second, layer)] if weight.ndim > 1 else weight


def _spread(weight: Tensor, patch: int) -> Tensor:
    """A patch embedding for larger patches: the same answer to a flat patch."""
    old = weight.shape[-1]
    if old == patch:
        return weight
    grown = nn.functional.interpolate(weight, size=(patch, patch), mode="bilinear")
    return grown * (old / patch) ** 2


def _positions(weight: Tensor, count: int) -> Tensor:
    """Embeddings of the positions on a grid of another size; that of a class token stays."""
    old, whole = int(len(weight) ** 0.5), int(count**0.5)
    extra = len(weight) - old * old
    if len(weight) == count:
        return weight
    grid = weight[extra:].T.view(1, -1, old, old)
    grid = nn.functional.interpolate(grid, size=(whole, whole), mode="area")
    return torch.cat([weight[:extra], grid.view(weight.shape[1], -1).T])
