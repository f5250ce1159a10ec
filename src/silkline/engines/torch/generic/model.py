"""A model of transformers behind its own processor, as the engine sees it."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from silkline.core import Feature, Image, Message, PixelBudget, PromptOptions, Role
from silkline.engines.chat.parts import AnswerForm
from silkline.engines.chat.template import keeping, kept_tokens
from silkline.engines.kv_budget import USUAL_CONTEXT
from silkline.engines.prompt_text import check_image_indices
from silkline.engines.torch.constraint import Matchers
from silkline.engines.torch.families.base import NO_OPTIONS, PreparedImage, Prompt
from silkline.engines.torch.families.inputs import as_pillow
from silkline.engines.torch.prompt import PromptWriter, Tokenizer
from silkline.errors import InvalidRequest

_MAX_PIXELS = 4 * 1024 * 1024
"""Limits the work of processors whose resizing is not known."""

_IMAGE = "\ue000image\ue001"
"""Stands for an image in prompts of models whose processor places images by itself."""

PROCESSOR_ERRORS = (ValueError, TypeError, LookupError, ArithmeticError, RuntimeError)
"""Errors that processors raise for input that they do not support."""


@dataclass(frozen=True, slots=True)
class GenericParts:
    """The loaded contents of a model's folder.

    Attributes:
        model: The model of transformers, in evaluation mode.
        processor: Its processor.
        tokenizer: The processor's tokenizer.
        template: The chat template; None if the folder has none.
        end_ids: Tokens that end an answer.
        matchers: Constrains answers; None if the tokenizer does not support that.
    """

    model: Any
    processor: Any
    tokenizer: Tokenizer
    template: str | None
    end_ids: frozenset[int]
    matchers: Matchers | None


@dataclass(frozen=True, slots=True)
class CallForm:
    """How a processor is called; processors differ.

    Attributes:
        marker: The text that stands for an image; None if the processor places images itself.
        nested: Whether the images of a prompt are a list in a list.
    """

    marker: str | None
    nested: bool


class GenericModel:
    """Implements `Served` with a processor."""

    def __init__(self, parts: GenericParts, form: CallForm) -> None:
        """Wraps a loaded model.

        Raises:
            ConfigError: The chat template does not render images.
        """
        self.model = parts.model
        self.generate: Callable[..., Any] = parts.model.generate
        self.processor = parts.processor
        self.form = form
        self.end_ids = parts.end_ids
        self.matchers = parts.matchers
        self.tokenizer = parts.tokenizer
        self.token_bytes = self.tokenizer.token_bytes()
        self.vocabulary = 0
        """Number of logits; like `generate` and the two below, loading finds it out by trying."""
        self.image_tokens = 1
        self.needs_image = False
        self.pixel_budget = PixelBudget(max_pixels=_MAX_PIXELS)
        self.pixels_per_token: int | None = None
        self._image_id = image_token_id(self.model.config, self.processor)
        self._takes = _parameters(self.model)
        self._lock = threading.Lock()
        marker = form.marker or _IMAGE
        reserved = {*self.tokenizer.added.reserved(self._image_id, parts.template), marker}
        self._writer = PromptWriter(
            self.tokenizer,
            parts.template,
            marker,
            reserved,
            _plain,
            constrains=self.matchers is not None,
        )

    @property
    def context_length(self) -> int:
        """See `Served`; the text model's maximum position, or the tokenizer's limit if lower."""
        text = self.model.config.get_text_config(decoder=True)
        limits = (getattr(text, name, None) for name in ("max_position_embeddings", "n_positions"))
        longest = next((int(limit) for limit in limits if limit), USUAL_CONTEXT)
        return min(longest, self.tokenizer.longest)

    @property
    def features(self) -> frozenset[Feature]:
        """See `Served`."""
        return self._writer.features

    def prepare(
        self,
        messages: Sequence[Message],
        images: Sequence[Image],
        options: PromptOptions = NO_OPTIONS,
    ) -> Prompt:
        """See `Served`."""
        check_image_indices(messages, len(images))
        if self.needs_image and not images:
            raise InvalidRequest(
                "This model answers only questions about an image. Send one.", param="messages"
            )
        if self.form.marker is None and len(images) > 1:
            raise InvalidRequest(
                "This model takes one image in a conversation. Send only one.", param="messages"
            )
        text, answer = self._writer.write(messages, len(images), options)
        inputs = self._process(text.replace(_IMAGE, ""), images)
        ids = inputs["input_ids"][0]
        prepared = (self._image(inputs, ids, text),) if images else ()
        return Prompt(
            ids=ids,
            images=prepared,
            positions=torch.empty(1, 0, dtype=torch.int64),
            next_position=len(ids),
            answer=answer,
            inputs=inputs,
        )

    def decode(self, ids: Sequence[int]) -> str:
        """See `Served`."""
        return self.tokenizer.decode(ids)

    def decoder(self, form: AnswerForm) -> Callable[[Sequence[int]], str]:
        """See `Served`."""
        return keeping(self.decode, kept_tokens(form, self.tokenizer.added.special_texts))

    def placed(self, inputs: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        """Joins the inputs of requests of equal shape to those of a batch on the device."""
        dtype, device = self.model.dtype, self.model.device
        joined = {name: torch.cat([each[name] for each in inputs]) for name in inputs[0]}
        return {
            name: tensor.to(device, dtype if tensor.is_floating_point() else tensor.dtype)
            for name, tensor in joined.items()
        }

    def _process(self, text: str, images: Sequence[Image]) -> dict[str, torch.Tensor]:
        """Runs the processor; its tensors by name, with one row of `input_ids`.

        Raises:
            InvalidRequest: It does not support the conversation or an image.
        """
        shown: Any = [as_pillow(image) for image in images]
        if self.form.nested:
            shown = [shown]
        begin = self.tokenizer.begin
        options = {"add_special_tokens": False} if begin and text.startswith(begin) else {}
        try:
            with self._lock:  # tokenizers are not thread-safe while their settings change
                made = self.processor(
                    text=[text], images=shown if images else None, return_tensors="pt", **options
                )
            return {name: _tensor(made[name]) for name in made if name in self._takes}
        except PROCESSOR_ERRORS as error:
            sizes = ", ".join(f"{image.width}x{image.height}" for image in images)
            what = f"{len(images)} images ({sizes} pixels)" if images else "a text without images"
            raise InvalidRequest(
                f"The model's processor does not support this conversation with {what}. Send "
                "other images, or fewer.",
                param="messages",
            ) from error

    def _image(
        self, inputs: Mapping[str, torch.Tensor], ids: torch.Tensor, text: str
    ) -> PreparedImage:
        """The images of a prompt, with the number of tokens that they take."""
        tokens = 0 if self._image_id is None else int((ids == self._image_id).sum())
        if not tokens:
            plain = text.replace(self.form.marker or _IMAGE, "")
            tokens = max(1, len(ids) - len(self.tokenizer.encode(plain)))
        tensors = {name: inputs[name] for name in inputs if inputs[name].is_floating_point()}
        return PreparedImage(tensors, tokens, tokens, b"")


def _plain(turns: Sequence[tuple[Role, str]], markers: str) -> str:
    """The prompt of a model without a chat template: the images, then one text a line."""
    return markers + "\n".join(text for _, text in turns)


def _tensor(value: Any) -> torch.Tensor:
    """A processor's output as one tensor; some make lists of equal tensors."""
    if isinstance(value, torch.Tensor):
        return value
    if value and isinstance(value[0], torch.Tensor):
        return torch.stack(list(value))
    return torch.as_tensor(value)


def _parameters(model: Any) -> frozenset[str]:
    """The names of the arguments that `generate` passes on."""
    calls = (model.forward, model.prepare_inputs_for_generation, model.generate)
    return frozenset(name for call in calls for name in inspect.signature(call).parameters)


def image_token_id(config: Any, processor: Any) -> int | None:
    """The token whose embeddings are replaced by image features; None if nothing names it."""
    for owner, name in (
        (config, "image_token_id"),
        (config, "image_token_index"),
        (processor, "image_token_id"),
    ):
        found = getattr(owner, name, None)
        if isinstance(found, int):
            return found
    return None
