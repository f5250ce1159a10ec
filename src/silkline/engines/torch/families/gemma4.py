"""Gemma 4: images keep their aspect ratio, and layers may get embeddings of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import PIL.Image
import torch

from silkline.engines.torch.families.base import PreparedImage, Prompt
from silkline.engines.torch.families.common import Adapter, ModelParts, Preprocessed
from silkline.engines.torch.families.inputs import features_of, prepared_image, runs


class Gemma4(Adapter):
    """Gemma 4, dense or a mixture of experts (transformers, models/gemma4).

    The smaller models embed each token once more for every layer; an image's features get those of
    the padding token. The larger ones have bidirectional attention within an image, in layers with
    a sliding window only.
    """

    model_types = frozenset({"gemma4"})
    _windowed_blocks = True

    def __init__(self, loaded: ModelParts) -> None:
        """See `Adapter`."""
        super().__init__(loaded)
        text = self.config.get_text_config()
        self._has_layer_inputs = bool(text.hidden_size_per_layer_input)
        self._both_ways = text.use_bidirectional_attention == "vision"
        self._padding = int(text.pad_token_id)
        config = self.config
        placeholders = (config.image_token_id, config.audio_token_id, config.video_token_id)
        known = [int(token) for token in placeholders if token is not None]
        self._placeholders = torch.tensor(known, device=self._device)
        self._softcap: float | None = text.final_logit_softcapping
        self._begin, self._end = (
            self.tokenizer.text_of(int(token))
            for token in (self.config.boi_token_id, self.config.eoi_token_id)
        )

    def embed(self, prompt: Prompt, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """See `Family`."""
        ids = self._without_placeholders(prompt.ids.to(self._device))
        return self._with_layer_inputs(super().embed(prompt, features), ids)

    def embed_next(self, ids: torch.Tensor) -> torch.Tensor:
        """See `Family`."""
        ids = self._without_placeholders(ids)
        return self._with_layer_inputs(super().embed_next(ids), ids)

    def text_arguments(self, inputs: torch.Tensor) -> dict[str, Any]:
        """See `Family`."""
        if not self._has_layer_inputs:
            return super().text_arguments(inputs)
        text = self.config.get_text_config()
        layers = torch.unflatten(inputs[:, text.hidden_size :], 1, (text.num_hidden_layers, -1))
        embeddings = inputs[:, : text.hidden_size]
        return {
            "inputs_embeds": embeddings.unsqueeze(0),
            "per_layer_inputs": layers.unsqueeze(0),
        }

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """See `Family`."""
        logits = super().logits(hidden)
        return logits if self._softcap is None else self._softcap * (logits / self._softcap).tanh()

    def _without_placeholders(self, ids: torch.Tensor) -> torch.Tensor:
        """Replaces the tokens of images, audio and videos, also generated ones, by padding."""
        return ids.masked_fill((ids.unsqueeze(-1) == self._placeholders).any(-1), self._padding)

    def _with_layer_inputs(self, inputs: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        if not self._has_layer_inputs:
            return inputs
        text_model: Any = self.text_model
        with torch.inference_mode():
            layers = text_model.get_per_layer_inputs(ids.unsqueeze(0))
        return torch.cat((inputs, layers[0].flatten(1)), 1)

    def _preprocess(self, images: list[PIL.Image.Image]) -> list[Preprocessed]:
        return [self._patches(image) for image in images]

    def _patches(self, image: PIL.Image.Image) -> Preprocessed:
        made = self._process([image])
        tokens = int(made["num_soft_tokens_per_image"][0])
        tensors = {name: made[name][0] for name in ("pixel_values", "image_position_ids")}
        text = f"{self._begin}{self.image_token * tokens}{self._end}"
        return Preprocessed(text, (prepared_image(tensors, tokens),))

    def _features(self, images: Sequence[PreparedImage]) -> list[torch.Tensor]:
        made = self.model.model.get_image_features(
            pixel_values=self._stacked(images, "pixel_values"),
            image_position_ids=self._stacked(images, "image_position_ids"),
        )
        return list(features_of(made))

    def _blocks(self, ids: torch.Tensor) -> tuple[tuple[int, int], ...]:
        return runs(ids, self.image_token_id) if self._both_ways else ()
