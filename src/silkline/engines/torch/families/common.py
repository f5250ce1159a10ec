"""What all families share: from a conversation to ids, from features to the text model's input."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import PIL.Image
import torch
from torch import nn

from silkline.core import Image, Message, PixelBudget
from silkline.engines.prompt_text import check_image_indices
from silkline.engines.torch.families.base import PreparedImage, Prompt
from silkline.engines.torch.prompt import PlainPrompt, PromptWriter, Tokenizer
from silkline.errors import InternalFault, InvalidRequest
from silkline.models.image_tokens import TokenRule
from silkline.models.token_rules import Documents

Rule = TypeVar("Rule")

_MAX_PIXELS = 32 * 1024 * 1024
"""Bounds what the image processors have to take; photographs of today's cameras are below it."""


@dataclass(frozen=True, slots=True)
class ModelParts:
    """What lies in a model's folder, loaded.

    Attributes:
        model: The model of transformers, in evaluation mode.
        tokenizer: Its tokenizer.
        image_processor: The Pillow-based one.
        template: The chat template; None where the folder has none.
        files: The JSON files that tell of pictures.
        rule: How many tokens a picture takes.
    """

    model: Any
    tokenizer: Tokenizer
    image_processor: Any
    template: str | None
    files: Documents
    rule: TokenRule


@dataclass(frozen=True, slots=True)
class Seen:
    """A client's picture after preprocessing.

    Attributes:
        text: What the prompt says in its place, a token of the picture for each feature.
        images: What the vision tower takes; several where a picture is cut into tiles.
    """

    text: str
    images: tuple[PreparedImage, ...]


class Adapter(ABC):
    """The part of `Family` that is the same for all; see there for the doors."""

    model_types: ClassVar[frozenset[str]]

    def __init__(self, loaded: ModelParts) -> None:
        """Takes a model over.

        Raises:
            ConfigError: The chat template is missing, or has no place for pictures.
        """
        self.model: Any = loaded.model
        self.tokenizer = loaded.tokenizer
        self.image_processor = loaded.image_processor
        self.files = loaded.files
        self.rule = loaded.rule
        self._table: nn.Module = loaded.model.get_input_embeddings()
        words = int(self.config.get_text_config().vocab_size)
        # Files name tokens, too, that the model cannot say anyway, and that have no logit.
        forbidden = sorted(each for each in _forbidden(self._generation_config) if each < words)
        self._forbidden = torch.tensor(forbidden, dtype=torch.int64, device=self._device)
        self._forbids = self._forbidden.numel() > 0
        added = loaded.tokenizer.added.reserved(self.image_token_id, loaded.template)
        reserved = {*added, self.image_token, self.marker}
        self._writer = PromptWriter(
            loaded.tokenizer, loaded.template, self.marker, reserved, self.plain_prompt
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
        """The token whose places pictures fill, as text."""
        return self.tokenizer.text_of(self.image_token_id)

    @property
    def marker(self) -> str:
        """The token that a chat template writes for a picture."""
        return self.image_token

    @property
    def plain_prompt(self) -> PlainPrompt | None:
        """How a model without a chat template is asked; None where it must have one."""
        return None

    @property
    def end_ids(self) -> frozenset[int]:
        """See `Family`: those of generation_config.json, as `generate` takes them."""
        return _as_ids(self._generation_config.eos_token_id)

    @property
    def context_length(self) -> int:
        """See `Family`: places of the text model, fewer where the tokenizer says so.

        Rotary frequencies of the kind "longrope" are others for all tokens once one is beyond the
        places that the model was first taught with. Requests that share a step would change each
        other's, and those of what is in the cache already: so it ends there.
        """
        text: Any = self.config.get_text_config()
        places = min(int(text.max_position_embeddings), self.tokenizer.longest)
        rope = getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None) or {}
        if rope.get("rope_type", rope.get("type")) != "longrope":
            return places
        own = getattr(text, "original_max_position_embeddings", None)
        return min(places, int(rope.get("original_max_position_embeddings") or own or places))

    @property
    def image_tokens(self) -> int:
        """See `Family`."""
        return self.rule.maximum()

    @property
    def pixel_budget(self) -> PixelBudget:
        """See `Family`: what is not reduced beforehand is resized as the model was taught."""
        return PixelBudget(max_pixels=_MAX_PIXELS)

    @property
    def pixels_per_token(self) -> int | None:
        """See `Family`."""
        return None

    def prepare(self, messages: Sequence[Message], images: Sequence[Image]) -> Prompt:
        """See `Family`."""
        check_image_indices(messages, len(images))
        text = self._writer.write(messages, len(images))
        self._check_room(images)
        seen = self._see([as_pillow(image) for image in images]) if images else []
        ids = torch.tensor(self._ids(text, seen), dtype=torch.int64)
        prepared = tuple(image for each in seen for image in each.images)
        places = int((ids == self.image_token_id).sum())
        if places != sum(image.tokens for image in prepared):
            raise InternalFault("The prompt has other places for pictures than these fill.")
        positions, next_position = self._positions(ids, prepared)
        return Prompt(ids, prepared, positions, next_position, self._blocks(ids))

    def encode(self, images: Sequence[PreparedImage]) -> list[torch.Tensor]:
        """See `Family`."""
        if not images:
            return []
        with torch.inference_mode():
            features = [each.to(self._dtype) for each in self._features(images)]
        for image, each in zip(images, features, strict=True):
            if each.shape[0] != image.tokens:
                raise InternalFault("The vision tower gave other features than a picture takes.")
        return features

    def embed(self, prompt: Prompt, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """See `Family`."""
        places = prompt.ids == self.image_token_id
        # The token may lie beyond the table; what stands at its places is replaced anyway.
        ids = prompt.ids.masked_fill(places, 0).to(self._device)
        with torch.inference_mode():
            inputs: torch.Tensor = self._table(ids)
            if features:
                where = places.nonzero().squeeze(1).to(self._device)
                inputs = inputs.index_copy(0, where, torch.cat(list(features)))
        return inputs

    def embed_next(self, ids: torch.Tensor) -> torch.Tensor:
        """See `Family`."""
        inputs: torch.Tensor = self._table(ids)
        return inputs

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """See `Family`."""
        logits: torch.Tensor = self._head(hidden)
        return logits.index_fill(-1, self._forbidden, -torch.inf) if self._forbids else logits

    def decode(self, ids: Sequence[int]) -> str:
        """See `Family`."""
        return self.tokenizer.decode(ids)

    def _check_room(self, images: Sequence[Image]) -> None:
        """Checks that the pictures' tokens alone fit the context, before anything is resized.

        Raises:
            InvalidRequest: They do not, or the family takes no picture of such a shape.
        """
        tokens = self._features_in(images)
        if tokens >= self.context_length:
            raise InvalidRequest(
                f"The pictures take {tokens} tokens, but prompt and answer together may have "
                f"{self.context_length}. Send fewer or smaller ones.",
                param="messages",
            )

    def _features_in(self, images: Sequence[Image]) -> int:
        """Tokens that the pictures of a prompt fill."""
        return sum(self.rule.count(image.width, image.height).features for image in images)

    @abstractmethod
    def _see(self, images: list[PIL.Image.Image]) -> list[Seen]:
        """Preprocesses the pictures of a prompt, in order."""

    @abstractmethod
    def _features(self, images: Sequence[PreparedImage]) -> list[torch.Tensor]:
        """Runs the vision tower and what brings its output to the text model."""

    def _ids(self, text: str, seen: Sequence[Seen]) -> list[int]:
        """Puts the pictures' text in their places and reads the whole as token ids.

        Where the template begins the text, the tokenizer does not begin it again.
        """
        between = text.split(self.marker)
        whole = between[0] + "".join(
            each.text + after for each, after in zip(seen, between[1:], strict=True)
        )
        return self.tokenizer.encode(whole)

    def _positions(
        self,
        ids: torch.Tensor,
        images: Sequence[PreparedImage],  # noqa: ARG002 - others need them
    ) -> tuple[torch.Tensor, int]:
        """Positions `[P, T]` and the one after."""
        return torch.arange(len(ids)).unsqueeze(0), len(ids)

    def _blocks(self, ids: torch.Tensor) -> tuple[tuple[int, int], ...]:  # noqa: ARG002
        """Ranges that attend both ways."""
        return ()

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
        """Runs the image processor on the pictures of one prompt, or on one of them.

        Raises:
            InvalidRequest: It takes no picture of such a shape.
        """
        try:
            # Told where the channels are, it does not guess it for pictures three pixels high.
            made: Mapping[str, Any] = self.image_processor(
                [images], return_tensors="pt", input_data_format="channels_last", **options
            )
        except (ValueError, ZeroDivisionError) as error:
            sizes = ", ".join(f"{image.width}x{image.height}" for image in images)
            raise InvalidRequest(
                f"The model's image processor takes no picture of such a shape ({sizes} pixels). "
                "Crop it or send another one."
            ) from error
        return made

    def _stacked(self, images: Sequence[PreparedImage], name: str) -> torch.Tensor:
        """One tensor of equal pictures, on the model's device, pixels in the tower's dtype."""
        return self._placed(torch.stack([image.tensors[name] for image in images]))

    def _joined(self, images: Sequence[PreparedImage], name: str) -> torch.Tensor:
        """One tensor of what differs in its first dimension."""
        return self._placed(torch.cat([image.tensors[name] for image in images]))

    def _placed(self, tensor: torch.Tensor) -> torch.Tensor:
        dtype = self._dtype if tensor.is_floating_point() else tensor.dtype
        return tensor.to(self._device, dtype)


class OneSize(Adapter):
    """Families whose pictures, or tiles, are all of one size and are seen alone."""

    def _see(self, images: list[PIL.Image.Image]) -> list[Seen]:
        return [self._seen(self._process([image], **self._options)) for image in images]

    _options: ClassVar[dict[str, Any]] = {}
    """What the family's processor tells the image processor."""

    _per_image: int
    """Features of a picture or tile; set by each family when it is loaded."""

    def _seen(self, made: Mapping[str, Any]) -> Seen:
        """One tensor `pixel_values` `[n, 3, height, width]` as `n` pictures, and their text."""
        pixels = made["pixel_values"]
        images = tuple(prepared_image({"pixel_values": each}, self._per_image) for each in pixels)
        return Seen(self.image_token * (self._per_image * len(images)), images)

    def _features(self, images: Sequence[PreparedImage]) -> list[torch.Tensor]:
        pixels = self._stacked(images, "pixel_values")
        features = features_of(self._tower.get_image_features(pixel_values=pixels))
        return list(features)

    @property
    def _tower(self) -> Any:
        """The part of the model that knows `get_image_features`."""
        return self.model.model


def rule_of(loaded: ModelParts, kind: type[Rule]) -> Rule:
    """The rule of a picture's tokens, of the kind that the table of families has for the family."""
    if not isinstance(loaded.rule, kind):
        raise InternalFault(f"The rule of a picture's tokens is not a {kind.__name__}.")
    return loaded.rule


def prepared_image(tensors: Mapping[str, torch.Tensor], tokens: int) -> PreparedImage:
    """A picture of these tensors, which are made compact, with its digest."""
    compact = {name: tensor.contiguous() for name, tensor in sorted(tensors.items())}
    digest = hashlib.blake2b(digest_size=32)
    for name, tensor in compact.items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.numpy().data)
    return PreparedImage(compact, tokens, digest.digest())


def features_of(result: Any) -> Any:
    """What `get_image_features` gave: transformers 5 wraps it up, 4 does not."""
    return getattr(result, "pooler_output", result)


def as_pillow(image: Image) -> PIL.Image.Image:
    """A picture as the image processors take it."""
    return PIL.Image.frombytes("RGB", (image.width, image.height), image.pixels)


def runs(ids: torch.Tensor, token: int) -> tuple[tuple[int, int], ...]:
    """Ranges `[start, end)` in which a token follows itself."""
    is_token = torch.nn.functional.pad((ids == token).to(torch.int8), (1, 1))
    change = is_token.diff()
    starts, ends = (change == 1).nonzero().squeeze(1), (change == -1).nonzero().squeeze(1)
    return tuple(zip(starts.tolist(), ends.tolist(), strict=True))


def _forbidden(generation_config: Any) -> frozenset[int]:
    """Tokens that `generate` never takes, wherever it is."""
    words = getattr(generation_config, "bad_words_ids", None) or []
    alone = frozenset(word[0] for word in words if len(word) == 1)
    return alone | _as_ids(getattr(generation_config, "suppress_tokens", None))


def _as_ids(value: int | list[int] | None) -> frozenset[int]:
    if value is None:
        return frozenset()
    return frozenset([value] if isinstance(value, int) else value)
