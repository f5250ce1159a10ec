"""The fake engine's answers, and how they are split into tokens."""

from __future__ import annotations

import hashlib
import os
import re
from itertools import count

from silkline.core import ImagePart, Request, TextPart
from silkline.engines.grammar import Grammar
from silkline.engines.grammar.sample import sample
from silkline.engines.sampling import GREEDY_BELOW

_VOCABULARY = """
a red blue green striped plain mug lamp chair bottle watch sneaker backpack with on beside small
large soft bright wooden ceramic café crème 陶瓷 one two three label handle shelf
"""
WORDS = tuple(_VOCABULARY.split())
"""The words of answers; some have characters of several bytes."""

_TOKEN_BYTES = 9
"""Length of the longest token."""

_TOKEN = re.compile(rb" ?[0-9A-Za-z]{1,8}|.", re.DOTALL)


def _identity(request: Request, part: TextPart | ImagePart) -> str:
    return part.text if isinstance(part, TextPart) else request.images[part.index].digest


def echo(request: Request) -> str:
    """Returns the last message, with the size of each image instead of the image."""
    parts = []
    for part in request.messages[-1].parts:
        if isinstance(part, TextPart):
            parts.append(part.text)
        else:
            image = request.images[part.index]
            parts.append(f"[{image.width}x{image.height}]")
    return " ".join(parts)


def words(request: Request, number: int) -> str:
    """Returns words derived from the request; greedy sampling always gives the same.

    Args:
        request: The request.
        number: How many words; 0 means 8 to 23.
    """
    root = _root(request)
    number = number or 8 + root[0] % 16
    return " ".join(WORDS[_draw(root, index) % len(WORDS)] for index in range(number)) + "."


def _root(request: Request) -> bytes:
    """Returns the root of a request's random draws; random itself if the sampling is."""
    sampling = request.sampling
    seed: bytes | int | None = None
    if sampling.temperature >= GREEDY_BELOW:
        seed = os.urandom(8) if sampling.seed is None else sampling.seed
    conversation = [
        (message.role, [_identity(request, part) for part in message.parts])
        for message in request.messages
    ]
    return hashlib.blake2b(repr((conversation, seed)).encode(), digest_size=16).digest()


def constrained(request: Request, grammar: Grammar, max_tokens: int) -> list[bytes]:
    """Returns an answer that the grammar allows; at least `max_tokens` of it if it is longer."""
    root, indices = _root(request), count()

    def draw(below: int) -> int:
        return _draw(root, next(indices)) % below

    return tokens_of(sample(grammar, draw, max_chars=_TOKEN_BYTES * (max_tokens + 1)))


def _draw(root: bytes, index: int) -> int:
    digest = hashlib.blake2b(root + index.to_bytes(4), digest_size=4).digest()
    return int.from_bytes(digest)


def tokens_of(text: str) -> list[bytes]:
    """Splits text as a byte-level vocabulary does: short ASCII words, and single bytes."""
    return _TOKEN.findall(text.encode("utf-8", "replace"))
