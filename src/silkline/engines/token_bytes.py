"""The bytes of a tokenizer's tokens.

Tokenizers list their tokens as text: byte-level ones write each byte as a printable character,
SentencePiece ones write a space as U+2581 and a single byte as `<0x0A>`. How to undo that follows
from the `decoder` in tokenizer.json.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from silkline.core import TokenLogprob
from silkline.errors import UNDECODABLE, ConfigError
from silkline.models.added_tokens import TOKENIZER

__all__ = ["TOKENIZER", "TokenBytes", "read_token_bytes"]

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_SPACE = "\u2581"
_REMEMBERED = 4096


class TokenBytes:
    """Converts token ids to bytes."""

    def __init__(
        self,
        text_of: Callable[[int], str | None],
        added: Collection[int],
        decoder: Mapping[str, Any] | None,
    ) -> None:
        """Reads how the tokenizer writes bytes.

        Args:
            text_of: Returns the text that stands for a token in the vocabulary; None if the
                tokenizer has no such token.
            added: Tokens that stand for their own text.
            decoder: The `decoder` of tokenizer.json; None if there is none.
        """
        self._text_of = text_of
        self._added = added
        steps = {step.get("type"): step for step in _steps(decoder)}
        self._byte_level = "ByteLevel" in steps
        self._byte_fallback = "ByteFallback" in steps
        self._spaces = "Metaspace" in steps or any(
            step.get("pattern") == {"String": _SPACE} for step in _steps(decoder)
        )
        self._prefix = None
        if subwords := steps.get("WordPiece"):
            self._prefix = str(subwords.get("prefix", "##"))
        self.of = lru_cache(_REMEMBERED)(self._of)
        """Returns a token's bytes; none for an id that the tokenizer does not have."""

    def logprob(
        self, token: int, logprob: float, top: tuple[TokenLogprob, ...] = ()
    ) -> TokenLogprob:
        """Returns the log-probability of a token with its text and bytes."""
        data = self.of(token)
        return TokenLogprob(data.decode("utf-8", "replace"), data, min(0.0, logprob), top)

    def _of(self, token: int) -> bytes:
        text = self._text_of(token)
        if text is None:
            return b""
        if token in self._added:
            return text.encode()
        if self._byte_level and all(letter in _BYTES for letter in text):
            return bytes(_BYTES[letter] for letter in text)
        if self._byte_fallback and (found := _BYTE.fullmatch(text)):
            return bytes((int(found[1], 16),))
        if self._spaces:
            text = text.replace(_SPACE, " ")
        if self._prefix is not None:
            inside = text.startswith(self._prefix)
            text = text.removeprefix(self._prefix) if inside else f" {text}"
        return text.encode()


class _Model(msgspec.Struct):
    vocab: dict[str, int] | list[tuple[str, float]] = []


class _Added(msgspec.Struct):
    id: int
    content: str


class _Tokenizer(msgspec.Struct):
    model: _Model
    added_tokens: list[_Added] = []
    decoder: dict[str, Any] | None = None


def read_token_bytes(*folders: Path) -> TokenBytes | None:
    """Reads tokenizer.json from the first folder that has one; None if none has.

    Raises:
        ConfigError: The file is damaged.
    """
    path = next((path for folder in folders if (path := folder / TOKENIZER).is_file()), None)
    if path is None:
        return None
    try:
        file = msgspec.json.decode(path.read_bytes(), type=_Tokenizer)
    except (OSError, *UNDECODABLE) as error:
        raise ConfigError(f"The model's {TOKENIZER} cannot be read. Download it again.") from error
    vocabulary = file.model.vocab
    if isinstance(vocabulary, dict):
        texts = {number: text for text, number in vocabulary.items()}
    else:
        texts = {number: text for number, (text, _) in enumerate(vocabulary)}
    added = {token.id: token.content for token in file.added_tokens}
    texts |= added
    return TokenBytes(texts.get, added.keys(), file.decoder)


def _steps(decoder: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any]]:
    if decoder is None:
        return
    if decoder.get("type") == "Sequence":
        for inner in decoder.get("decoders", ()):
            yield from _steps(inner)
    else:
        yield decoder


def _byte_letters() -> Iterator[tuple[str, int]]:
    """The printable character of each byte: itself, or one from U+0100 on."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in shown]
    yield from ((chr(byte), byte) for byte in shown)
    yield from ((chr(0x100 + index), byte) for index, byte in enumerate(others))


_BYTES = dict(_byte_letters())
