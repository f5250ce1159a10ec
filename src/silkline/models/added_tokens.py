"""Reads the tokens that a tokenizer adds to its vocabulary from the model's files.

Special tokens separate turns, images and text. Code that writes prompts without the tokenizer must
know them, or a client could type one (see `silkline.engines.prompt_text`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

import msgspec

from silkline.errors import UNDECODABLE, ConfigError
from silkline.models.documents import Document

TOKENIZER_CONFIG = "tokenizer_config.json"
TOKENIZER = "tokenizer.json"


class _Token(msgspec.Struct):
    content: str
    special: bool = True


class _Numbered(_Token, kw_only=True):
    id: int


class _TokenizerConfig(msgspec.Struct):
    """The list of transformers 4."""

    added_tokens_decoder: dict[int, _Token] = {}


class _Tokenizer(msgspec.Struct):
    """The list of the library tokenizers; transformers 5 writes no other."""

    added_tokens: list[_Numbered] = []


@dataclass(frozen=True, slots=True)
class AddedTokens:
    """Added tokens as text, by their ids.

    Attributes:
        texts: All added tokens. Some are ordinary text, such as runs of spaces or place names.
        special: Ids of the tokens that the files mark as special.
    """

    texts: Mapping[int, str]
    special: frozenset[int]

    @classmethod
    def of(cls, listed: Iterable[tuple[int, str, bool]]) -> Self:
        """Builds the table from ids, texts and special flags; an id may be listed repeatedly."""
        tokens = list(listed)
        return cls(
            texts={number: text for number, text, _ in tokens},
            special=frozenset(number for number, _, special in tokens if special),
        )

    def text(self, number: int | None) -> str | None:
        """The text of a token; None if it is not an added token."""
        return None if number is None else self.texts.get(number)

    @property
    def special_texts(self) -> dict[int, str]:
        """The special tokens as text, by their ids."""
        return {number: self.texts[number] for number in self.special}

    def reserved(self, image_token: int | None, template: str | None) -> frozenset[str]:
        """The texts that a client must not send.

        These are the special tokens, the image token, and the tokens in the chat template, which
        mark turns: some models' files do not flag these as special.

        Args:
            image_token: The id of the image token, if known.
            template: The chat template, if there is one.
        """
        return frozenset(
            text
            for number, text in self.texts.items()
            if number in self.special or number == image_token or text in (template or "")
        )


def read_added_tokens(*folders: Path) -> AddedTokens:
    """Reads the added tokens of a model from the first folder that lists any.

    Raises:
        ConfigError: No folder lists any, or a file is damaged.
    """
    for folder in folders:
        config = _read(folder / TOKENIZER_CONFIG, _TokenizerConfig)
        tokenizer = _read(folder / TOKENIZER, _Tokenizer)
        listed: list[tuple[int, _Token]] = [(token.id, token) for token in tokenizer.added_tokens]
        listed += config.added_tokens_decoder.items()
        if listed:
            return AddedTokens.of(
                (number, token.content, token.special) for number, token in listed
            )
    raise ConfigError(
        f"Neither {TOKENIZER_CONFIG} nor {TOKENIZER} lists the model's special tokens. Add the "
        "files that were published with the model to its folder."
    )


def image_token(config: Document) -> int | None:
    """The id of the image placeholder token in config.json; None if the file does not say.

    Raises:
        ConfigError: It is not an id.
    """
    return config.number("image_token_id", "image_token_index", minimum=0)


_File = TypeVar("_File", _TokenizerConfig, _Tokenizer)


def _read(path: Path, kind: type[_File]) -> _File:
    """Reads the needed part of a JSON file, which may be long; empty if there is no file."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return kind()
    except (OSError, *UNDECODABLE) as error:
        raise ConfigError(f"The model's {path.name} cannot be read. Download it again.") from error
