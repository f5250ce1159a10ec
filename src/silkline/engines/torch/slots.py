"""Keys and values of all requests in the batch: a slot each, all of the same length.

A layer's keys are one tensor `[slots, kv_heads, length, head_dim]`, its values likewise: what a
head reads lies together, all tokens of a step are written by one indexed copy, and all that
generate attend in one call over a view. The slots are as long as the longest live request needs,
and there are as many as requests; both grow and shrink in buckets, layer by layer, so that no more
than one layer is held twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

_SHORTEST = 64
"""Tokens of the shortest slots, and the smallest step by which they grow."""


@dataclass(frozen=True, slots=True)
class LayerShape:
    """What one token takes in one layer: `kv_heads` keys and values of these sizes."""

    kv_heads: int
    key_dim: int
    value_dim: int


class KvSlots:
    """The storage. Which request has which slot, and how much of it is filled, others know."""

    def __init__(
        self,
        layers: Sequence[LayerShape],
        *,
        max_slots: int,
        budget: int,
        dtype: torch.dtype,
        device: torch.device,
        steady: bool = False,
    ) -> None:
        """Makes storage that holds nothing yet.

        Args:
            layers: What a token takes in each layer.
            most_slots: There are never more.
            budget: Most bytes.
            dtype: Of keys and values.
            device: Where they lie.
            steady: Whether the storage should seldom move, as captured graphs want it: it then has
                all slots from the start where they fit, grows by doubling and does not shrink.
        """
        self._dtype = dtype
        self._steady = steady
        self._max_slots = max_slots
        self._budget = budget
        self.token_bytes = token_bytes(layers, dtype)
        """Bytes that a token takes in all layers."""
        self.count = 0
        """Slots that there are."""
        self.length = 0
        """Tokens that each can hold."""
        self.version = 0
        """Changes when the storage does: views of it are then out of date."""
        empty = torch.zeros(0, dtype=dtype, device=device)
        self.keys = [empty.view(0, shape.kv_heads, 0, shape.key_dim) for shape in layers]
        """A layer's keys, `[count, kv_heads, length, key_dim]`."""
        self.values = [empty.view(0, shape.kv_heads, 0, shape.value_dim) for shape in layers]
        """A layer's values, `[count, kv_heads, length, value_dim]`."""

    @property
    def max_tokens(self) -> int:
        """The longest request that the budget can hold, alone."""
        return self._budget // self.token_bytes

    def fits(self, count: int, length: int) -> bool:
        """Whether the budget holds `count` slots of `length` tokens."""
        return count * length * self.token_bytes <= self._budget

    def worth_reading(self, longest: int) -> int:
        """How many tokens of the slots to attend to when the longest request has `longest`.

        Torch multiplies half precision on the CPU only in one piece: a view that leaves a few
        tokens at the end of each slot out would be copied in each call.
        """
        in_one_chunk = self._dtype.itemsize < torch.float32.itemsize
        return self.length if in_one_chunk and 4 * self.length <= 5 * longest else longest

    def reserve(self, count: int, length: int, *, filled: Sequence[int] = ()) -> None:
        """Makes room for `count` slots of `length` tokens, which must fit; may shrink what is more.

        Args:
            count: Slots that are needed.
            length: Tokens that the longest of them needs.
            filled: Tokens to keep of each slot from the first on.
        """
        enough = count <= self.count and length <= self.length
        roomy = self._padded(count) * self._longer(length)
        far_too_much = not self._steady and self.count * self.length > 2 * roomy
        if enough and not far_too_much:
            return
        self._resize(*self._bucketed(count, length), filled)

    def move(self, source: int, target: int, filled: int) -> None:
        """Copies the first `filled` tokens of one slot into another, and clears the others."""
        with torch.inference_mode():
            for tensor in (*self.keys, *self.values):
                tensor[target, :, :filled] = tensor[source, :, :filled]
        self.clear(target, filled)

    def clear(self, slot: int, start: int) -> None:
        """Forgets what a slot holds from token `start` on.

        What others left there is masked, which means multiplied by zero: were it no number, as
        where float16 overflowed, the product would be none either.
        """
        with torch.inference_mode():
            for tensor in (*self.keys, *self.values):
                tensor[slot, :, start:].zero_()

    def _padded(self, count: int) -> int:
        """The next power of two, so that those that join one by one do not copy all each time."""
        if self._steady:
            return self._max_slots
        return min(self._max_slots, 1 << (count - 1).bit_length()) if count else 0

    def _longer(self, length: int) -> int:
        return max(_SHORTEST, 1 << (length - 1).bit_length()) if self._steady else bucket(length)

    def _bucketed(self, count: int, length: int) -> tuple[int, int]:
        """The roomiest shape within the budget."""
        longer = self._longer(length)
        slots = min(self._padded(count), self._budget // (longer * self.token_bytes))
        if slots >= count:
            return slots, longer
        return count, self._budget // (count * self.token_bytes)

    def _resize(self, count: int, length: int, filled: Sequence[int]) -> None:
        for tensors in (self.keys, self.values):
            for layer, old in enumerate(tensors):
                # Zeros: what is masked is multiplied by zero, and must be no NaN for that.
                new = old.new_zeros(count, old.shape[1], length, old.shape[3])
                for slot, tokens in enumerate(filled):
                    if tokens:
                        new[slot, :, :tokens] = old[slot, :, :tokens]
                tensors[layer] = new
        self.count, self.length = count, length
        self.version += 1


def token_bytes(layers: Sequence[LayerShape], dtype: torch.dtype) -> int:
    """Bytes that a token takes in all layers."""
    numbers = sum(shape.kv_heads * (shape.key_dim + shape.value_dim) for shape in layers)
    return dtype.itemsize * numbers


def bucket(length: int) -> int:
    """The next length of a slot: steps of 64 tokens at first, then of a quarter at the most."""
    step = max(_SHORTEST, (1 << length.bit_length()) // 8)
    return -(-length // step) * step
