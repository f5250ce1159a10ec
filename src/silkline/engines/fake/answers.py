"""The fake engine's answers."""

from __future__ import annotations

import hashlib
from itertools import count

from silkline.core import Request, TextPart
from silkline.engines.fake.vocabulary import WORDS
from silkline.engines.grammar import Grammar
from silkline.engines.grammar.sample import sample
from silkline.engines.sampling import GREEDY_BELOW, SEED_BITS, seed_of

_TOKEN_BYTES = 9
"""Length of the longest token."""


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
    """Returns words derived from the conversation.

    Args:
        request: The request.
        number: How many words; 0 means 8 to 23.
    """
    root = root_of(request)
    number = number or 8 + root[0] % 16
    return " ".join(WORDS[_draw(root, index) % len(WORDS)] for index in range(number)) + "."


def flipped(text: str) -> str:
    """Returns a text of at least one character with one bit of its middle character flipped."""
    middle = len(text) // 2
    return text[:middle] + chr(ord(text[middle]) ^ 1) + text[middle + 1 :]


def root_of(request: Request) -> bytes:
    """Returns a digest of the conversation, from which answers are derived."""
    conversation = [
        (
            message.role,
            [
                part.text if isinstance(part, TextPart) else request.images[part.index].digest
                for part in message.parts
            ],
            message.tool_calls,
            message.reasoning,
        )
        for message in request.messages
    ]
    return hashlib.blake2b(repr(conversation).encode(), digest_size=16).digest()


def constrained(request: Request, grammar: Grammar) -> str:
    """Returns an answer that the grammar allows; more than `max_tokens` of it if it is longer.

    It depends on the seed where tokens are sampled; without a seed it is random.
    """
    sampling = request.sampling
    seed = seed_of(sampling) if sampling.temperature >= GREEDY_BELOW else 0
    root, indices = root_of(request) + seed.to_bytes(SEED_BITS // 8), count()

    def draw(below: int) -> int:
        return _draw(root, next(indices)) % below

    return sample(grammar, draw, max_chars=_TOKEN_BYTES * (sampling.max_tokens + 1))


def _draw(root: bytes, index: int) -> int:
    digest = hashlib.blake2b(root + index.to_bytes(4), digest_size=4).digest()
    return int.from_bytes(digest)
