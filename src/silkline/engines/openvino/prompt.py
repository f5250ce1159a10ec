"""From messages to the prompt string that the pipeline takes.

The pipeline marks a picture's place by a tag in the prompt, so a tag, or any other special token,
that a client typed as text must not be read as one: it is broken by a character that has no width.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from silkline.core import ImagePart, Message, Part, TextPart
from silkline.errors import ConfigError, InvalidRequest

_TOKENIZER_CONFIG = "tokenizer_config.json"

ZERO_WIDTH_SPACE = "\u200b"
_PIPELINE_TAGS = r"<ov_genai_[a-z]+_\d+>"
_IMAGE_TAG = "<ov_genai_image_{}>"
_ANY_IMAGE_TAG = re.compile(r"<ov_genai_image_\d+>")


def reserved_tokens(*folders: Path) -> tuple[str, ...]:
    """The tokenizer's special tokens as text, from the first folder that says what they are.

    Raises:
        ConfigError: None does; without them, a client's text could not be told from a tag.
    """
    for folder in folders:
        path = folder / _TOKENIZER_CONFIG
        if path.is_file():
            added = json.loads(path.read_text(encoding="utf-8"))["added_tokens_decoder"]
            return tuple(str(token["content"]) for token in added.values())
    raise ConfigError(
        f"The model has no {_TOKENIZER_CONFIG}, which lists its special tokens. Add the one that "
        "came with the model to the bundle."
    )


class Prompter:
    """Writes the conversation as the turns that a chat template takes."""

    def __init__(self, reserved: Iterable[str]) -> None:
        patterns = [_PIPELINE_TAGS, *(re.escape(token) for token in reserved)]
        self._reserved = re.compile("|".join(patterns))

    def turns(self, messages: Sequence[Message], images: int) -> list[dict[str, str]]:
        """Each message as role and content, pictures as the pipeline's tags in their places.

        Args:
            messages: The conversation.
            images: How many pictures there are; each must stand in the messages once, in order.

        Raises:
            InvalidRequest: The messages point at other pictures than there are.
        """
        placed = [part.index for message in messages for part in _pictures(message.parts)]
        if placed != list(range(images)):
            raise InvalidRequest(
                f"The messages point at the pictures {placed}, but {images} came. "
                "Point at each picture once, in order."
            )
        return [
            {"role": message.role.value, "content": self._content(message)} for message in messages
        ]

    def _content(self, message: Message) -> str:
        """Text that stands together is broken as one: a token may be split over two parts."""
        content = []
        for is_text, parts in itertools.groupby(message.parts, _is_text):
            if is_text:
                text = "".join(part.text for part in parts if isinstance(part, TextPart))
                content.append(self._reserved.sub(_broken, text))
            else:
                content += [_IMAGE_TAG.format(part.index) for part in _pictures(parts)]
        return "".join(content)


def without_pictures(prompt: str) -> str:
    """The prompt's text alone, for counting its tokens: the pipeline ends a picture by a break."""
    return _ANY_IMAGE_TAG.sub("\n", prompt)


def _is_text(part: Part) -> bool:
    return isinstance(part, TextPart)


def _pictures(parts: Iterable[Part]) -> list[ImagePart]:
    return [part for part in parts if isinstance(part, ImagePart)]


def _broken(found: re.Match[str]) -> str:
    token = found.group()
    return token[0] + ZERO_WIDTH_SPACE + token[1:]
