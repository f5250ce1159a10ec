"""BLIP-2: a Q-Former's queries before the text of a decoder such as OPT."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import PIL.Image
from torch import nn

from silkline.core import Role
from silkline.engines.torch.families.common import ModelParts, Preprocessed, rule_of
from silkline.engines.torch.families.one_size import OneSize
from silkline.engines.torch.prompt import PlainPrompt
from silkline.errors import InvalidRequest
from silkline.models.image_tokens import Fixed


def questions(turns: Sequence[tuple[Role, str]], images: str) -> str:
    """Renders the prompt format of BLIP-2's authors: "Question: ... Answer:", with earlier answers.

    A conversation without text asks for a caption.
    """
    if not any(text for _, text in turns):
        return images
    formats = {
        Role.SYSTEM: "{}",
        Role.USER: "Question: {} Answer:",
        Role.ASSISTANT: "{}",
    }
    return images + " ".join(formats[role].format(text) for role, text in turns)


class Blip2(OneSize):
    """BLIP-2 with a decoder-only language model (transformers, models/blip_2).

    The model was trained with one image at the start of the prompt, and its processor cannot
    express where further images go, so a prompt has at most one.
    """

    model_types = frozenset({"blip-2"})

    def __init__(self, loaded: ModelParts) -> None:
        """See `Adapter`."""
        super().__init__(loaded)
        self._per_image = rule_of(loaded, Fixed).features

    @property
    def plain_prompt(self) -> PlainPrompt:
        """See `Adapter`."""
        return questions

    @property
    def text_model(self) -> nn.Module:
        """See `Family`."""
        decoder: nn.Module = self.model.language_model.get_decoder()
        return decoder

    def _preprocess(self, images: list[PIL.Image.Image]) -> list[Preprocessed]:
        if len(images) > 1:
            raise InvalidRequest(
                f"This model accepts one image per conversation, but {len(images)} were sent. Send "
                "the others in separate requests.",
                param="messages",
            )
        return super()._preprocess(images)

    def _ids(self, text: str, preprocessed: Sequence[Preprocessed]) -> list[int]:
        """The image comes first, even before the token that begins the text."""
        before = self.tokenizer.encode("".join(image.text for image in preprocessed), special=False)
        return before + self.tokenizer.encode(text.replace(self.marker, ""), special=True)

    @property
    def _tower(self) -> Any:
        return self.model

    @property
    def _head(self) -> nn.Module:
        head: nn.Module = self.model.language_model.get_output_embeddings()
        return head

    @property
    def _generation_config(self) -> Any:
        return self.model.language_model.generation_config
