"""Code that all families share: conversation to token ids, features to the text model's input."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import PIL.Image
import torch
from torch import nn

from silkline.core import Feature, Image, Message, PixelBudget, PromptOptions
from silkline.engines.chat.parts import AnswerForm
from silkline.engines.chat.template import keeping, kept_tokens
from silkline.engines.prompt_text import check_image_indices
from silkline.engines.torch.constraint import Matchers, open_matchers
from silkline.engines.torch.families.base import NO_OPTIONS, PreparedImage, Prompt
from silkline.engines.torch.families.inputs import as_pillow, widened
from silkline.engines.torch.families.pruned import prune, staying, with_fewer_tokens
from silkline.engines.torch.families.token_ids import as_ids, forbidden_tokens
from silkline.engines.torch.prompt import PlainPrompt, PromptWriter, Tokenizer
from silkline.engines.torch.pruning import query_of
from silkline.errors import InternalFault, InvalidRequest
from silkline.models.image_tokens import Count, TokenRule
from silkline.models.pruning import Pruning, pruned
from silkline.models.token_rules import Documents

Rule = TypeVar("Rule")

_MAX_PIXELS = 32 * 1024 * 1024
"""Limits the image processors' work; photographs from current cameras are below it."""


@dataclass(frozen=True, slots=True)
class ModelParts:
    """The loaded contents of a model's folder.

    Attributes:
        model: The model of transformers, in evaluation mode.
        tokenizer: Its tokenizer.
        image_processor: Its Pillow-based image processor.
        template: The chat template; None if the folder has none.
        files: The JSON files that configure image processing.
        rule: Computes how many features an image has.
        pruning: How they become fewer image tokens; None if all stay.
    """

    model: Any
    tokenizer: Tokenizer
    image_processor: Any
    template: str | None
    files: Documents
    rule: TokenRule
    pruning: Pruning | None = None


@dataclass(frozen=True, slots=True)
class Preprocessed:
    """A client's image after preprocessing.

    Attributes:
        text: The prompt's text for the image, with an image token for each feature.
        images: Inputs of the vision tower; several if the image is cut into tiles.
    """

    text: str
    images: tuple[PreparedImage, ...]


class Adapter(ABC):
    """Base class of all adapters; implements the parts of `Family` that they share."""

    model_types: ClassVar[frozenset[str]]

    def __init__(self, loaded: ModelParts) -> None:
        """Wraps a loaded model.

        Raises:
            ConfigError: The chat template is missing or does not render images.
        """
        self.model: Any = loaded.model
        self.tokenizer = loaded.tokenizer
        self.image_processor = loaded.image_processor
        self.files = loaded.files
        self.rule = loaded.rule
        self.pruning = loaded.pruning
        self._table: nn.Module = loaded.model.get_input_embeddings()
        self.vocabulary = int(self.config.get_text_config().vocab_size)
        self.token_bytes = loaded.tokenizer.token_bytes()
        # The files may also list tokens that have no logit.
        forbidden = forbidden_tokens(self._generation_config)
        forbidden_ids = sorted(token for token in forbidden if token < self.vocabulary)
        self._forbidden = torch.tensor(forbidden_ids, dtype=torch.int64, device=self._device)
        self._forbids = self._forbidden.numel() > 0
        added = loaded.tokenizer.added.reserved(self.image_token_id, loaded.template)
        reserved = {*added, self.image_token, self.marker}
        self._matchers = open_matchers(loaded.tokenizer.wrapped, self.end_ids)
        self._writer = PromptWriter(
            loaded.tokenizer,
            loaded.template,
            self.marker,
            reserved,
            self.plain_prompt,
            constrains=self._matchers is not None,
        )

    @property
    def config(self) -> Any:
        """The model's configuration."""
        return self.model.config

    @property
    def text_model(self) -> nn.Module:
        """See `Family`."""
        text_model: nn.Module = self.model.model.language_model
        return text_model

    @property
    def image_token_id(self) -> int:
        """See `Family`."""
        return int(self.config.image_token_id)

    @property
    def image_token(self) -> str:
        """The token that image features replace, as text."""
        return self.tokenizer.text_of(self.image_token_id)

    @property
    def marker(self) -> str:
        """The token that the chat template writes for an image."""
        return self.image_token

    @property
    def plain_prompt(self) -> PlainPrompt | None:
        """Renders prompts if the model has no chat template; None if it must have one."""
        return None

    @property
    def end_ids(self) -> frozenset[int]:
        """See `Family`; the end tokens in generation_config.json, which `generate` also uses."""
        return as_ids(self._generation_config.eos_token_id)

    @property
    def context_length(self) -> int:
        """See `Family`; the text model's maximum position, or the tokenizer's limit if lower.

        With "longrope", the rotary frequencies of all tokens change once one token is beyond the
        original context length. Requests in one step would change each other's frequencies, and
        those of tokens in the cache. So the context is limited to the original length.
        """
        text: Any = self.config.get_text_config()
        limit = min(int(text.max_position_embeddings), self.tokenizer.longest)
        rope = getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None) or {}
        if rope.get("rope_type", rope.get("type")) != "longrope":
            return limit
        own = getattr(text, "original_max_position_embeddings", None)
        return min(limit, int(rope.get("original_max_position_embeddings") or own or limit))

    @property
    def image_tokens(self) -> int:
        """See `Family`."""
        return pruned(self.rule.maximum(), self.pruning).total

    @property
    def pixel_budget(self) -> PixelBudget:
        """See `Family`; a high limit, so that the image processor resizes as in training."""
        return PixelBudget(max_pixels=_MAX_PIXELS)

    @property
    def pixels_per_token(self) -> int | None:
        """See `Family`."""
        return None

    @property
    def features(self) -> frozenset[Feature]:
        """See `Family`."""
        return self._writer.features

    def prepare(
        self,
        messages: Sequence[Message],
        images: Sequence[Image],
        options: PromptOptions = NO_OPTIONS,
    ) -> Prompt:
        """See `Family`."""
        check_image_indices(messages, len(images))
        text, answer = self._writer.write(messages, len(images), options)
        self._check_room(images)
        preprocessed = self._preprocess([as_pillow(image) for image in images]) if images else []
        ids = torch.tensor(self._ids(text, preprocessed), dtype=torch.int64)
        prepared = tuple(part for image in preprocessed for part in image.images)
        image_tokens = int((ids == self.image_token_id).sum())
        features = sum(image.features for image in prepared)
        if image_tokens != features:
            raise InternalFault(
                f"The prompt has {image_tokens} image tokens, but its images have {features} "
                "features."
            )
        return self._prompt(ids, prepared, answer)

    def _prompt(
        self, ids: torch.Tensor, images: tuple[PreparedImage, ...], answer: AnswerForm
    ) -> Prompt:
        """Lays out a prompt with a token for each feature, and drops the tokens to be pruned.

        Positions of one row are consecutive, so they close up. Those of several rows say where in
        the image a token is, so every token keeps its own.
        """
        positions, next_position = self._positions(ids, images)
        feature_positions = None
        if self.pruning is not None and images:
            is_image = ids == self.image_token_id
            images = with_fewer_tokens(images, self.pruning, ids[~is_image])
            stays = staying(is_image, images)
            ids = ids[stays]
            if len(positions) > 1:
                feature_positions, positions = positions[:, is_image], positions[:, stays]
            else:
                positions, next_position = self._positions(ids, images)
        blocks, windowed = self._blocks(ids), self._windowed_blocks
        return Prompt(
            ids, images, positions, next_position, blocks, windowed, answer, feature_positions
        )

    def encode(self, images: Sequence[PreparedImage]) -> list[torch.Tensor]:
        """See `Family`."""
        if not images:
            return []
        with torch.inference_mode():
            features = [tensor.to(self._dtype) for tensor in self._features(images)]
        for image, tensor in zip(images, features, strict=True):
            if tensor.shape[0] != image.features:
                found = tensor.shape[0]
                raise InternalFault(f"An image has {found} features instead of {image.features}.")
        return features

    def prune(
        self, prompt: Prompt, features: Sequence[torch.Tensor]
    ) -> tuple[Prompt, Sequence[torch.Tensor]]:
        """See `Family`."""
        if self.pruning is None or not features:
            return prompt, features
        is_image = prompt.ids == self.image_token_id
        with torch.inference_mode():
            query = query_of(self._table(prompt.ids[~is_image].to(self._device)))
            return prune(prompt, features, is_image, self.pruning.method, query)

    def embed(self, prompt: Prompt, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """See `Family`."""
        is_image = prompt.ids == self.image_token_id
        # The image token may have no row in the table; its embeddings are replaced anyway.
        ids = prompt.ids.masked_fill(is_image, 0).to(self._device)
        with torch.inference_mode():
            inputs: torch.Tensor = self._table(ids)
            if features:
                indices = is_image.nonzero().squeeze(1).to(self._device)
                found = torch.cat(list(features))
                inputs = widened(inputs, found.shape[1]).index_copy(0, indices, found)
        return inputs

    def embed_next(self, ids: torch.Tensor) -> torch.Tensor:
        """See `Family`."""
        inputs: torch.Tensor = self._table(ids)
        return inputs

    def text_arguments(self, inputs: torch.Tensor) -> dict[str, Any]:
        """See `Family`."""
        return {"inputs_embeds": inputs.unsqueeze(0)}

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """See `Family`."""
        logits: torch.Tensor = self._head(hidden)
        return logits.index_fill(-1, self._forbidden, -torch.inf) if self._forbids else logits

    @property
    def matchers(self) -> Matchers | None:
        """See `Family`."""
        return self._matchers

    def decode(self, ids: Sequence[int]) -> str:
        """See `Family`."""
        return self.tokenizer.decode(ids)

    def decoder(self, form: AnswerForm) -> Callable[[Sequence[int]], str]:
        """See `Family`."""
        return keeping(self.decode, kept_tokens(form, self.tokenizer.added.special_texts))

    def _check_room(self, images: Sequence[Image]) -> None:
        """Checks, before images are resized, that their tokens alone fit into the context.

        Raises:
            InvalidRequest: They do not, or the family does not support an image of this shape.
        """
        tokens = sum(pruned(count, self.pruning).features for count in self._counts(images))
        if tokens >= self.context_length:
            raise InvalidRequest(
                f"The images take {tokens} tokens, but prompt and answer together may have "
                f"{self.context_length}. Send fewer or smaller images.",
                param="messages",
            )

    def _counts(self, images: Sequence[Image]) -> list[Count]:
        """Returns the tokens of each of a prompt's images before pruning."""
        return [self.rule.count(image.width, image.height) for image in images]

    @abstractmethod
    def _preprocess(self, images: list[PIL.Image.Image]) -> list[Preprocessed]:
        """Preprocesses the images of a prompt, in order."""

    @abstractmethod
    def _features(self, images: Sequence[PreparedImage]) -> list[torch.Tensor]:
        """Runs the vision tower and the projection into the text model's space."""

    def _ids(self, text: str, preprocessed: Sequence[Preprocessed]) -> list[int]:
        """Replaces the markers by the images' text and converts the prompt to token ids.

        If the template has written the token that begins a text, the tokenizer does not repeat it.
        """
        between = text.split(self.marker)
        whole = between[0] + "".join(
            image.text + after for image, after in zip(preprocessed, between[1:], strict=True)
        )
        return self.tokenizer.encode(whole)

    def _positions(
        self,
        ids: torch.Tensor,
        images: Sequence[PreparedImage],  # noqa: ARG002 - overrides need them
    ) -> tuple[torch.Tensor, int]:
        """Returns the positions `[P, T]` and the next position."""
        return torch.arange(len(ids)).unsqueeze(0), len(ids)

    def _blocks(self, ids: torch.Tensor) -> tuple[tuple[int, int], ...]:  # noqa: ARG002
        """Returns the ranges with bidirectional attention; see `Prompt.blocks`."""
        return ()

    _windowed_blocks: ClassVar = False
    """See `Prompt.windowed_blocks`."""

    @property
    def _head(self) -> nn.Module:
        head: nn.Module = self.model.lm_head
        return head

    @property
    def _generation_config(self) -> Any:
        return self.model.generation_config

    @property
    def _dtype(self) -> torch.dtype:
        return next(self._table.parameters()).dtype

    @property
    def _device(self) -> torch.device:
        return next(self._table.parameters()).device

    def _process(self, images: list[PIL.Image.Image], **options: Any) -> Mapping[str, Any]:
        """Runs the image processor on all images of a prompt, or on one of them.

        Raises:
            InvalidRequest: It does not support an image of this shape.
        """
        try:
            # Without the format, it would guess wrongly for images that are three pixels high.
            made: Mapping[str, Any] = self.image_processor(
                [images], return_tensors="pt", input_data_format="channels_last", **options
            )
        except (ValueError, ZeroDivisionError) as error:
            sizes = ", ".join(f"{image.width}x{image.height}" for image in images)
            raise InvalidRequest(
                f"The model's image processor does not support an image of this shape ({sizes} "
                "pixels). Crop the image or send another one."
            ) from error
        return made

    def _stacked(self, images: Sequence[PreparedImage], name: str) -> torch.Tensor:
        """Stacks a tensor of images of one shape on the model's device, pixels in its dtype."""
        return self._placed(torch.stack([image.tensors[name] for image in images]))

    def _joined(self, images: Sequence[PreparedImage], name: str) -> torch.Tensor:
        """Concatenates a tensor of images along its first dimension, likewise."""
        return self._placed(torch.cat([image.tensors[name] for image in images]))

    def _placed(self, tensor: torch.Tensor) -> torch.Tensor:
        dtype = self._dtype if tensor.is_floating_point() else tensor.dtype
        return tensor.to(self._device, dtype)


def rule_of(loaded: ModelParts, kind: type[Rule]) -> Rule:
    """Returns the model's image token rule, checked to be of the kind that its adapter expects."""
    if not isinstance(loaded.rule, kind):
        raise InternalFault(f"The image token rule is not a {kind.__name__}.")
    return loaded.rule
