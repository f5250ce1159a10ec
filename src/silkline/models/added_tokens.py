"""The tokens that a tokenizer adds to its vocabulary, as its files list them.

Special tokens tell turns, images and text apart. Who writes prompts without loading the tokenizer
must know them, or a client could type one (see `silkline.engines.prompt_text`).
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
    """As transformers 4 lists them."""

    added_tokens_decoder: dict[int, _Token] = {}


class _Tokenizer(msgspec.Struct):
    """As tokenizers lists them; of files that transformers 5 writes, the only one that does."""

    added_tokens: list[_Numbered] = []


@dataclass(frozen=True, slots=True)
class AddedTokens:
    """Added tokens as text, by their ids.

    Attributes:
        texts: All of them. Some are ordinary words, such as runs of spaces or names of places.
        special: Ids of those that are no words, as far as the files say so.
    """

    texts: Mapping[int, str]
    special: frozenset[int]

    @classmethod
    def of(cls, listed: Iterable[tuple[int, str, bool]]) -> Self:
        """From ids, texts and whether a token is special; an id may be listed more than once."""
        tokens = list(listed)
        return cls(
            texts={number: text for number, text, _ in tokens},
            special=frozenset(number for number, _, special in tokens if special),
        )

    def text(self, number: int | None) -> str | None:
        """How a token is written; None where it is no added one."""
        return None if number is None else self.texts.get(number)

    def reserved(self, image_token: int | None, template: str | None) -> frozenset[str]:
        """What a client must not write.

        That is special tokens, the image token, and what the chat template marks turns with: some
        models' files call these words.

        Args:
            image_token: Its id, where known.
            template: The chat template, where there is one.
        """
        return frozenset(
            text
            for number, text in self.texts.items()
            if number in self.special or number == image_token or text in (template or "")
        )


def read_added_tokens(*folders: Path) -> AddedTokens:
    """The added tokens of a model, from the first folder that lists any.

    Raises:
        ConfigError: None does, or a file is damaged.
    """
    for folder in folders:
        config = _read(folder / TOKENIZER_CONFIG, _TokenizerConfig)
        tokenizer = _read(folder / TOKENIZER, _Tokenizer)
        listed: list[tuple[int, _Token]] = [(token.id, token) for token in tokenizer.added_tokens]
        listed += config.added_tokens_decoder.items()
        if listed:
            return AddedTokens.of((number, each.content, each.special) for number, each in listed)
    raise ConfigError(
        f"Neither {TOKENIZER_CONFIG} nor {TOKENIZER} lists the model's special tokens. Add those "
        "that came with the model to its folder."
    )


def image_token(config: Document) -> int | None:
    """The id of the token whose places images fill, as config.json says; None where it does not.

    Raises:
        ConfigError: It is no id.
    """
    return config.number("image_token_id", "image_token_index", minimum=0)


_File = TypeVar("_File", _TokenizerConfig, _Tokenizer)


def _read(path: Path, kind: type[_File]) -> _File:
    """What counts of a JSON file, which may be long; nothing where it is not there."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return kind()
    except (OSError, *UNDECODABLE) as error:
        raise ConfigError(
            f"The model's {path.name} cannot be read. Get it again from where it was published."
        ) from error
