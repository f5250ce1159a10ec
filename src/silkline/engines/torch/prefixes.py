"""Keeps keys and values of recent prompts, so that an equal prefix is not computed again.

They lie in the part of the KV budget that no running request needs, and are evicted when one does.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from silkline.engines.prefix_keys import PromptContent, PromptImage, block_keys, reusable
from silkline.engines.torch.families.base import Prompt
from silkline.engines.torch.slots import KvSlots

BLOCK = 16
"""Tokens of a block: only whole blocks are reused."""


def prompt_keys(
    prompt: Prompt, image_token: int, scope: bytes | None, generated: Sequence[int] = ()
) -> tuple[bytes, ...]:
    """Returns the keys of a prompt's blocks, followed by those of generated tokens.

    Args:
        prompt: The prompt.
        image_token: The id of its image tokens.
        scope: The scope of its request; None returns no keys.
        generated: Tokens of the answer; the first one with the id of image tokens ends the keys.
    """
    if scope is None:
        return ()
    ids, positions = prompt.ids.numpy(), prompt.positions.numpy()
    if image_token in generated:
        generated = generated[: generated.index(image_token)]
    if generated:
        ids = np.concatenate((ids, np.array(generated, np.int64)))
        further = np.arange(len(generated)) + prompt.next_position
        further = np.broadcast_to(further, (len(positions), len(generated)))
        positions = np.concatenate((positions, further), 1)
    images = [PromptImage(image.digest, image.tokens) for image in prompt.images]
    content = PromptContent(
        ids, image_token, images, positions, prompt.blocks, prompt.windowed_blocks
    )
    return block_keys(content, scope, BLOCK)


@dataclass(eq=False, slots=True)
class _Segment:
    """Consecutive blocks, which were kept together and are evicted together.

    Attributes:
        keys: Their keys.
        tensors: Keys and values of each layer, as `KvSlots.read` returns them.
        bytes: Size of the tensors.
    """

    keys: Sequence[bytes]
    tensors: list[torch.Tensor]
    bytes: int


class Prefixes:
    """The kept blocks, least recently used first."""

    def __init__(self, slots: KvSlots, image_token: int) -> None:
        """Creates an empty store.

        Args:
            slots: The storage whose budget it shares.
            image_token: The id of the model's image tokens.
        """
        self._slots = slots
        self.image_token = image_token
        """The id of the model's image tokens."""
        self._blocks: dict[bytes, tuple[_Segment, int]] = {}
        self._segments: OrderedDict[_Segment, None] = OrderedDict()
        self.held_bytes = 0
        """Size of the kept keys and values."""

    def reusable(self, prompt: Prompt) -> int:
        """Returns how many first tokens of a prompt are kept; at least one is left to compute."""
        tokens = min(self._found(prompt.keys) * BLOCK, len(prompt.ids) - 1)
        return reusable(tokens, BLOCK, prompt.blocks)

    def restore(self, keys: Sequence[bytes], tokens: int, slot: int) -> None:
        """Copies the first `tokens` tokens, which `reusable` has returned, into a slot."""
        wanted = keys[: tokens // BLOCK]
        start = 0
        while start < len(wanted):
            segment, first = self._blocks[wanted[start]]
            count = _common(segment.keys[first:], wanted[start:])
            rows = slice(first * BLOCK, (first + count) * BLOCK)
            self._slots.write(slot, start * BLOCK, [each[:, rows] for each in segment.tensors])
            start += count
        self._touch(wanted)

    def keep(self, keys: Sequence[bytes], slot: int) -> None:
        """Keeps the blocks with these keys, all of which lie in a slot, unless they are kept."""
        self._touch(keys[: self._found(keys)])
        while True:
            known = self._found(keys)
            size = (len(keys) - known) * BLOCK * self._slots.token_bytes
            if not size or size > self._slots.room:
                return
            self.trim(size)
            if self._found(keys) == known:  # its own prefix was not evicted for it
                break
        tensors = self._slots.read(slot, known * BLOCK, len(keys) * BLOCK)
        segment = _Segment(keys[known:], tensors, size)
        self._segments[segment] = None
        self.held_bytes += size
        for index, key in enumerate(segment.keys):
            self._blocks[key] = segment, index
        self._touch(keys)

    def trim(self, size: int = 0) -> None:
        """Evicts segments until `size` more bytes fit into what the slots leave of the budget."""
        while self._segments and self.held_bytes + size > self._slots.room:
            segment, _ = self._segments.popitem(last=False)
            self.held_bytes -= segment.bytes
            for key in segment.keys:
                if self._blocks.get(key, (None,))[0] is segment:
                    del self._blocks[key]

    def _found(self, keys: Sequence[bytes]) -> int:
        """How many of the first keys are kept."""
        for index, key in enumerate(keys):
            if key not in self._blocks:
                return index
        return len(keys)

    def _touch(self, keys: Sequence[bytes]) -> None:
        """Makes segments the most recently used ones; a prefix is evicted after what follows it."""
        for key in reversed(keys):
            self._segments.move_to_end(self._blocks[key][0])


def _common(one: Sequence[bytes], other: Sequence[bytes]) -> int:
    """How many of the first keys are equal."""
    pairs = enumerate(zip(one, other, strict=False))
    return next(
        (index for index, (left, right) in pairs if left != right), min(len(one), len(other))
    )
