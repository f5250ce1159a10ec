"""Identifies the blocks of a prompt, so that engines reuse the keys and values of equal prefixes.

The keys and values of a token depend on its own input and position and on those of all tokens that
it attends to. So the key of a block is a digest of its whole prefix: token ids, positions, and the
digests of the images whose features replace image tokens. The first link of the chain is the scope
of the request, so two scopes have no key in common. Nothing in it is a name that a client chose.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

KEY_BYTES = 32

_DOMAIN = b"silkline.prefix1"
"""Separates these digests from all others; increase the number when the encoding changes."""

_NO_IMAGE = -1

Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PromptImage:
    """An image, or a tile, in a prompt.

    Attributes:
        digest: Digest of what the vision tower gets.
        tokens: Number of image tokens that its features replace.
    """

    digest: bytes
    tokens: int


@dataclass(frozen=True, slots=True)
class PromptContent:
    """Everything that determines the keys and values of a prompt.

    Attributes:
        ids: Token ids, int64 `[T]`.
        image_token: The id of the tokens that image features replace.
        images: The images, in the order of their tokens.
        positions: Positions of the tokens, int64 `[P, T]`; None means 0, 1, 2, ...
        ranges: Ranges `[start, end)` of tokens that attend to each other in both directions.
        windowed: Whether `ranges` hold in layers with a sliding window only.
    """

    ids: Ids
    image_token: int
    images: Sequence[PromptImage] = ()
    positions: Ids | None = None
    ranges: Sequence[tuple[int, int]] = ()
    windowed: bool = False


def block_keys(content: PromptContent, scope: bytes, size: int) -> tuple[bytes, ...]:
    """Returns the keys of a prompt's full blocks of `size` tokens, in order.

    Two blocks of equal keys have equal keys and values in the model, and the same scope.
    """
    count = len(content.ids)
    owners, offsets = _images_of(content)
    rows = [content.ids, offsets]
    rows += [] if content.positions is None else list(content.positions)
    tokens = np.stack(rows, axis=1).astype("<i8")
    key = _digest(b"", scope)
    keys = []
    for start in range(0, count - count % size, size):
        # Tokens at the end of a block may attend to later ones.
        ends = [stop for first, stop in content.ranges if first < start + size and stop > start]
        end = max(start + size, *ends) if ends else start + size
        shown = [content.images[each].digest for each in _distinct(owners[start:end])]
        ranges = [pair for pair in content.ranges if pair[0] < end and pair[1] > start]
        head = (size, end - start, len(rows), len(shown), len(ranges), content.windowed)
        key = _digest(
            key,
            struct.pack("<6q", *head),
            tokens[start:end].tobytes(),
            *(struct.pack("<q", len(each)) + each for each in shown),
            *(struct.pack("<2q", *pair) for pair in ranges),
        )
        keys.append(key)
    return tuple(keys)


def reusable(tokens: int, size: int, ranges: Sequence[tuple[int, int]] = ()) -> int:
    """Returns how many of the first `tokens` tokens may be reused: no part of a block or range."""
    tokens -= tokens % size
    for start, end in reversed(ranges):
        if start < tokens < end:
            tokens = start - start % size
    return tokens


def _images_of(content: PromptContent) -> tuple[Ids, Ids]:
    """Each token's image and its index in that image; -1 for text."""
    owners = np.full(len(content.ids), _NO_IMAGE, np.int64)
    offsets = np.full(len(content.ids), _NO_IMAGE, np.int64)
    counts = [image.tokens for image in content.images]
    places: Ids = (
        np.flatnonzero(content.ids == content.image_token) if counts else np.zeros(0, np.int64)
    )
    if len(places) != sum(counts):
        raise ValueError(f"{len(places)} image tokens for {sum(counts)} features")
    if counts:
        owners[places] = np.repeat(np.arange(len(counts)), counts)
        offsets[places] = np.concatenate([np.arange(count) for count in counts])
    return owners, offsets


def _distinct(owners: Ids) -> list[int]:
    """The images in a block, in order."""
    return [int(owner) for owner in np.unique(owners) if owner != _NO_IMAGE]


def _digest(parent: bytes, *parts: bytes) -> bytes:
    state = hashlib.blake2b(parent, digest_size=KEY_BYTES, person=_DOMAIN)
    for part in parts:
        state.update(part)
    return state.digest()
