"""The fake engine's tokens: short ASCII words and single bytes, as in a byte-level vocabulary."""

from __future__ import annotations

import re
import zlib

_WORDS = """
a red blue green striped plain mug lamp chair bottle watch sneaker backpack with on beside small
large soft bright wooden ceramic café crème 陶瓷 one two three label handle shelf
"""
WORDS = tuple(_WORDS.split())
"""The words of answers; some have characters of several bytes."""

END_ID = 0
"""The id of the end token, which has no bytes."""

_TOKEN = re.compile(rb" ?[0-9A-Za-z]{1,8}|.", re.DOTALL)
_HASHED = 1 << 20

IMAGE_ID = 2 * _HASHED
"""The id of each token of an image."""


def tokens_of(text: str) -> list[bytes]:
    """Splits text into the bytes of its tokens."""
    return _TOKEN.findall(text.encode("utf-8", "replace"))


def token_id(data: bytes) -> int:
    """Returns a token's id: 0 for the end token, 1 to 256 for bytes, larger ones for words.

    The vocabulary has no end: a word that answers are not made of has a hash as its id.
    """
    known = _IDS.get(data)
    return _HASHED + zlib.crc32(data) % _HASHED if known is None else known


def token_bytes(number: int) -> bytes | None:
    """Returns the bytes of a token that may be in any answer; None for other ids."""
    return _BYTES.get(number)


ASCII_WORDS = tuple(b" " + word.encode() for word in WORDS if word.isascii())
"""The words that are one token each, with the space before them."""

_VOCABULARY = (b"", *(bytes((byte,)) for byte in range(256)))
_BYTES = dict(enumerate((*_VOCABULARY, *ASCII_WORDS)))
_IDS = {data: number for number, data in _BYTES.items()}
