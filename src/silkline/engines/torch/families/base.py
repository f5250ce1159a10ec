"""What the engine needs of a family of models: the door between the runner and the adapters.

A family wraps one loaded model of transformers. It turns a conversation into token ids, positions
and pictures, runs the vision tower, and knows the text model that the runner drives over packed
batches. Everything that depends on a family is behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import torch
from torch import nn

from silkline.core import Image, Message, PixelBudget


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """What the vision tower takes at once: a picture, or one tile where tiles are seen alone.

    Attributes:
        tensors: Pixels, and what belongs to them, by the names of the family's processor; on the
            CPU, with no batch dimension that other pictures share.
        tokens: Places in the prompt that its features fill, at least 1.
        digest: BLAKE2b over the names, shapes, dtypes and bytes of `tensors`.
    """

    tensors: dict[str, torch.Tensor] = field(repr=False)
    tokens: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request, ready for the engine.

    Attributes:
        ids: Token ids, int64 `[T]`, in which every place of a picture's feature holds the family's
            `image_token_id`.
        pictures: In the order in which they fill these places.
        positions: Of each token, int64 `[P, T]`: `P` is 1, or 3 (time, height, width) for
            multimodal rotary positions.
        next_position: Of the first generated token, the same in all rows; each later one is one
            further.
        blocks: Ranges `[start, end)` of tokens that attend to each other both ways, besides what
            is causal; each must be prefilled in one chunk. In order, without overlap. They attend
            so in layers with a sliding window too, however long they are.
    """

    ids: torch.Tensor
    images: tuple[PreparedImage, ...]
    positions: torch.Tensor
    next_position: int
    blocks: tuple[tuple[int, int], ...] = ()


class Family(Protocol):
    """A loaded model, as the engine sees it.

    Attributes:
        model_types: `model_type` in config.json of what it serves.
        image_token_id: The token whose places pictures fill.
        text_model: Called with `inputs_embeds` `[1, T, hidden]`, `position_ids` (`[1, T]`, or
            `[3, 1, T]` for multimodal positions), `attention_mask=None`, `past_key_values=None` and
            `use_cache=False`; gives `last_hidden_state` after the last norm. Its `config` is the
            one from which its attention modules read `_attn_implementation`. These pass `scaling`,
            and, where the family has them, `sliding_window` and `softcap` to the attention
            function.
        end_ids: Tokens that end an answer.
        context_length: Most tokens of prompt and answer together.
        image_tokens: Most tokens that one picture of a prompt takes, markers included.
        model: The whole model, text model and vision tower included.
        pixel_budget: How large a picture is of use.
        pixels_per_token: Pixels that one token of a picture stands for, where the number of tokens
            follows the picture's size.
    """

    model_types: ClassVar[frozenset[str]]

    @property
    def image_token_id(self) -> int:
        """See the class."""

    @property
    def model(self) -> nn.Module:
        """See the class."""

    @property
    def text_model(self) -> nn.Module:
        """See the class."""

    @property
    def end_ids(self) -> frozenset[int]:
        """See the class."""

    @property
    def context_length(self) -> int:
        """See the class."""

    @property
    def image_tokens(self) -> int:
        """See the class."""

    @property
    def pixel_budget(self) -> PixelBudget:
        """See the class."""

    @property
    def pixels_per_token(self) -> int | None:
        """See the class."""

    def prepare(self, messages: Sequence[Message], images: Sequence[Image]) -> Prompt:
        """Makes the prompt of a request; on the CPU, from any thread, several at a time.

        Raises:
            InvalidRequest: The messages point at other pictures than there are, the chat template
                refuses the conversation, or the family takes no picture of such a shape.
        """

    def encode(self, images: Sequence[PreparedImage]) -> list[torch.Tensor]:
        """The features of pictures, of one request or of many, each `[tokens, hidden]`.

        They lie on the model's device, in its dtype.
        """

    def embed(self, prompt: Prompt, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """The text model's input `[T, hidden]`; `features` belong to `prompt.pictures`."""

    def embed_next(self, ids: torch.Tensor) -> torch.Tensor:
        """The input `[B, hidden]` for generated tokens, int64 `[B]` on the model's device."""

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """From the text model's output `[N, hidden]` to logits `[N, vocabulary]`.

        As the family's class in transformers makes them, but for tokens that its generation config
        forbids, which have minus infinity.
        """

    def decode(self, ids: Sequence[int]) -> str:
        """Token ids to text without special tokens; incomplete bytes become U+FFFD."""
