"""The interface between the engine and the adapters of model families.

A family wraps one loaded model of transformers. It turns a conversation into token ids, positions
and image tensors, runs the vision tower, and provides the text model that the runner drives over
packed batches. All code that depends on the family is behind this interface.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import torch
from torch import nn

from silkline.core import Feature, Image, Message, PixelBudget, PromptOptions
from silkline.engines.chat.parts import PLAIN, AnswerForm
from silkline.engines.token_bytes import TokenBytes
from silkline.engines.torch.constraint import Matchers

NO_OPTIONS = PromptOptions()


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """An input of the vision tower: an image, or one tile if tiles are encoded separately.

    Attributes:
        tensors: Pixels and their metadata, by the names that the family's processor uses; on the
            CPU, without a batch dimension.
        tokens: Number of image tokens in the prompt that its features replace, at least 1.
        features: Number of features that the vision tower returns, more than `tokens` if pruned.
        digest: BLAKE2b over the names, shapes, dtypes and bytes of `tensors`.
    """

    tensors: dict[str, torch.Tensor] = field(repr=False)
    tokens: int
    features: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Prompt:
    """The prepared prompt of a request.

    Attributes:
        ids: Token ids, int64 `[T]`, with the family's `image_token_id` wherever an image feature
            goes.
        images: The images, in the order of their tokens.
        positions: Position of each token, int64 `[P, T]`: `P` is 1, or 3 (time, height, width) for
            multimodal rotary positions.
        feature_positions: Positions of all features before pruning, int64 `[P, F]`, if image
            tokens keep their positions; `positions` of image tokens are valid after `prune`. None
            if positions do not depend on which features stay.
        next_position: Position of the first generated token, the same in all rows; it increases by
            one for each further token.
        blocks: Ranges `[start, end)` of tokens with bidirectional attention inside, in addition to
            causal attention; each must be prefilled in one chunk. In order, without overlap.
        windowed_blocks: Whether blocks hold in layers with a sliding window only, and within the
            window; else they hold in all layers, unlimited by windows.
        answer: What may be in its answer.
        inputs: The arguments of `generate`, by name; empty for models that an adapter runs.
        keys: The keys of its blocks in the scope of its request; empty if none may be reused.
    """

    ids: torch.Tensor
    images: tuple[PreparedImage, ...]
    positions: torch.Tensor
    next_position: int
    blocks: tuple[tuple[int, int], ...] = ()
    windowed_blocks: bool = False
    answer: AnswerForm = PLAIN
    feature_positions: torch.Tensor | None = None
    inputs: Mapping[str, torch.Tensor] = field(default_factory=dict, repr=False)
    keys: tuple[bytes, ...] = field(default=(), repr=False)


class Served(Protocol):
    """A loaded model, as the engine sees it.

    Attributes:
        end_ids: Tokens that end an answer.
        vocabulary: Number of logits of a token.
        token_bytes: The bytes of tokens.
        context_length: Maximum number of tokens of prompt and answer together.
        image_tokens: Maximum number of tokens of one image, markers included.
        pixel_budget: The size to which larger images are reduced before preprocessing.
        pixels_per_token: Pixels per image token, if the number of tokens depends on the image's
            size.
        features: The features that depend on the chat template.
    """

    @property
    def end_ids(self) -> frozenset[int]:
        """See the class."""

    @property
    def vocabulary(self) -> int:
        """See the class."""

    @property
    def token_bytes(self) -> TokenBytes:
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

    @property
    def features(self) -> frozenset[Feature]:
        """See the class."""

    @property
    def matchers(self) -> Matchers | None:
        """What constrains answers; None if the tokenizer does not support it."""

    def prepare(
        self,
        messages: Sequence[Message],
        images: Sequence[Image],
        options: PromptOptions = NO_OPTIONS,
    ) -> Prompt:
        """Prepares the prompt of a request on the CPU; thread-safe.

        Raises:
            InvalidRequest: The messages do not refer to each image once, the chat template refuses
                the conversation or does not support the options, or the model does not support an
                image of this shape.
        """

    def decoder(self, form: AnswerForm) -> Callable[[Sequence[int]], str]:
        """Returns a function like `decode` that keeps the special tokens around the parts."""

    def decode(self, ids: Sequence[int]) -> str:
        """Converts token ids to text without special tokens; incomplete bytes become U+FFFD."""


class Family(Served, Protocol):
    """A loaded model with an adapter, whose text model runs over packed batches.

    Attributes:
        model_types: The values of `model_type` in config.json that it supports.
        image_token_id: The token whose embeddings are replaced by image features.
        text_model: Called with `text_arguments`, `position_ids` (`[1, T]`, or `[3, 1, T]` for
            multimodal positions), `attention_mask=None` and `use_cache=False`, without a cache;
            returns `last_hidden_state` after the last norm. Its attention modules read
            `_attn_implementation` from its `config`, and pass `scaling` and, if the family has
            them, `sliding_window` and `softcap` to the attention function.
        model: The whole model, text model and vision tower included.
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

    def encode(self, images: Sequence[PreparedImage]) -> list[torch.Tensor]:
        """Encodes images of one or more requests into features, each `[tokens, hidden]`.

        Features are on the model's device, in its dtype.
        """

    def prune(
        self, prompt: Prompt, features: Sequence[torch.Tensor]
    ) -> tuple[Prompt, Sequence[torch.Tensor]]:
        """Reduces the features of `prompt.images` to their tokens.

        Returns:
            The prompt with the positions of the tokens that stay, and the features for `embed`.
        """

    def embed(self, prompt: Prompt, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """Returns a prompt's input `[T, width]`; `features` are those of `prompt.images`.

        They are as `prune` returns them.

        The first columns are the text model's embeddings. If its layers take further inputs of a
        token, such as image features, these follow; missing columns mean zeros.
        """

    def embed_next(self, ids: torch.Tensor) -> torch.Tensor:
        """Returns the input `[B, width]` of generated token ids, int64 `[B]`; as `embed`."""

    def text_arguments(self, inputs: torch.Tensor) -> dict[str, Any]:
        """Returns the text model's arguments for an input `[T, width]`."""

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Returns logits `[N, vocabulary]` for the text model's output `[N, hidden]`.

        They equal those of the family's class in transformers, except that tokens forbidden by its
        generation config have minus infinity.
        """
