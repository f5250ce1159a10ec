"""BLIP-2: a Q-Former's queries before the words of a decoder such as OPT."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import PIL.Image
from torch import nn

from silkline.core import Role
from silkline.engines.torch.families.common import ModelParts, OneSize, Seen, rule_of
from silkline.engines.torch.prompt import PlainPrompt
from silkline.errors import InvalidRequest
from silkline.models.image_tokens import Fixed


def questions(turns: Sequence[tuple[Role, str]], images: str) -> str:
    """The prompt that BLIP-2's authors ask by: "Question: ... Answer:", earlier answers within.

    A single turn without words asks for a caption.
    """
    if not any(text for _, text in turns):
        return images
    said = {
        Role.SYSTEM: "{}",
        Role.USER: "Question: {} Answer:",
        Role.ASSISTANT: "{}",
    }
    return images + " ".join(said[role].format(text) for role, text in turns)


class Blip2(OneSize):
    """BLIP-2 with a decoder-only language model (transformers, models/blip_2).

    The model was taught with one picture at the beginning of the prompt; its processor has no way
    to say where others stand, so a prompt takes one.
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

    def _see(self, images: list[PIL.Image.Image]) -> list[Seen]:
        if len(images) > 1:
            raise InvalidRequest(
                f"This model takes one picture in a conversation, and {len(images)} came. Send "
                "the others in requests of their own.",
                param="messages",
            )
        return super()._see(images)

    def _ids(self, text: str, seen: Sequence[Seen]) -> list[int]:
        """The picture comes first, even before the token that begins the text."""
        before = self.tokenizer.encode("".join(each.text for each in seen), special=False)
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
