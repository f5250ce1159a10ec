"""Stores keys, values and states of all requests in the batch, in one slot per request.

All slots have the same length. A layer's keys are one tensor `[slots, kv_heads, length, head_dim]`,
and so are its values: the data that a head reads is contiguous, one indexed copy writes all tokens
of a step, and all decoding requests attend in one call over a view. There is a slot for each
request, as long as the longest live request needs. The number and the length grow and shrink in
buckets, layer by layer, so that at most one layer is in memory twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch

_SHORTEST = 64
"""Minimum length of a slot in tokens, and the smallest step by which slots grow."""


@dataclass(frozen=True, slots=True)
class LayerShape:
    """The cache entry of a token in one layer: `kv_heads` keys and values of these sizes."""

    kv_heads: int
    key_dim: int
    value_dim: int


@dataclass(frozen=True, slots=True)
class StateShape:
    """A tensor that a layer keeps per request, however long the request is."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def bytes(self) -> int:
        """Its size."""
        return math.prod(self.shape) * self.dtype.itemsize


class KvSlots:
    """The storage of slots; callers track which request has which slot and how far it is filled."""

    def __init__(
        self,
        layers: Mapping[int, LayerShape],
        *,
        max_slots: int,
        budget: int,
        dtype: torch.dtype,
        device: torch.device,
        steady: bool = False,
        states: Mapping[int, Sequence[StateShape]] = MappingProxyType({}),
    ) -> None:
        """Creates empty storage.

        Args:
            layers: A token's cache entry in each layer that stores keys and values.
            max_slots: Maximum number of slots.
            budget: Maximum size in bytes.
            dtype: Type of keys and values.
            device: Device of keys and values.
            steady: Whether the storage should rarely be reallocated, as captured graphs need it: it
                then has all slots from the start if they fit, grows by doubling and never shrinks.
            states: What each layer with a recurrent state keeps per request.
        """
        self._dtype = dtype
        self._steady = steady
        self._max_slots = max_slots
        self._budget = budget
        self.token_bytes = token_bytes(layers.values(), dtype)
        """Bytes per token, over all layers."""
        self.state_bytes = state_bytes(states)
        """Bytes of the states of a slot, over all layers."""
        self.states = {
            layer: tuple(
                torch.zeros(0, *each.shape, dtype=each.dtype, device=device) for each in shapes
            )
            for layer, shapes in states.items()
        }
        """The states of a layer, each `[count, ...]`."""
        self.count = 0
        """Current number of slots."""
        self.length = 0
        """Current length of each slot in tokens."""
        self.version = 0
        """Changes when the storage is reallocated, which invalidates views of it."""
        empty = torch.zeros(0, dtype=dtype, device=device)
        self.keys = {
            layer: empty.view(0, shape.kv_heads, 0, shape.key_dim)
            for layer, shape in layers.items()
        }
        """A layer's keys, `[count, kv_heads, length, key_dim]`."""
        self.values = {
            layer: empty.view(0, shape.kv_heads, 0, shape.value_dim)
            for layer, shape in layers.items()
        }
        """A layer's values, `[count, kv_heads, length, value_dim]`."""

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """The keys and values of all layers."""
        return (*self.keys.values(), *self.values.values())

    @property
    def max_tokens(self) -> int:
        """Maximum length of a request that is alone in the batch, in tokens."""
        return max(0, self._budget - self.state_bytes) // self.token_bytes

    @property
    def room(self) -> int:
        """Bytes of the budget that the slots do not take now."""
        return self._budget - self.count * self._slot_bytes(self.length)

    def read(self, slot: int, start: int, end: int) -> list[torch.Tensor]:
        """Copies the tokens `[start, end)` of a slot: `[kv_heads, end - start, dim]` each.

        The order is that of `tensors`: the keys of all layers, then their values.
        """
        return [tensor[slot, :, start:end].clone() for tensor in self.tensors]

    def write(self, slot: int, start: int, tokens: Sequence[torch.Tensor]) -> None:
        """Writes tokens that `read` has returned into a slot, from index `start` on."""
        for tensor, rows in zip(self.tensors, tokens, strict=True):
            tensor[slot, :, start : start + rows.shape[1]] = rows

    def fits(self, count: int, length: int) -> bool:
        """Whether the budget holds `count` slots of `length` tokens."""
        return count * self._slot_bytes(length) <= self._budget

    def _slot_bytes(self, length: int) -> int:
        return length * self.token_bytes + self.state_bytes

    def worth_reading(self, longest: int) -> int:
        """Returns how many tokens of each slot to read when the longest request has `longest`.

        On the CPU, torch multiplies half-precision matrices only if they are contiguous: a view
        that omits a few tokens at the end of each slot would be copied in every call.
        """
        needs_contiguous = self._dtype.itemsize < torch.float32.itemsize
        return self.length if needs_contiguous and 4 * self.length <= 5 * longest else longest

    def reserve(self, count: int, length: int, *, filled: Sequence[int] = ()) -> None:
        """Resizes the storage to at least `count` slots of `length` tokens; may shrink it.

        Args:
            count: Number of slots needed; with `length`, it must fit into the budget.
            length: Length of the longest slot needed, in tokens.
            filled: Number of tokens to keep in each slot, from slot 0 on.
        """
        enough = count <= self.count and length <= self.length
        rounded = self._padded_count(count) * self._padded_length(length)
        oversized = not self._steady and self.count * self.length > 2 * rounded
        if enough and not oversized:
            return
        self._resize(*self._bucketed(count, length), filled)

    def move(self, source: int, target: int, filled: int) -> None:
        """Copies the first `filled` tokens of one slot to another and clears the rest of that."""
        with torch.inference_mode():
            for tensor in self.tensors:
                tensor[target, :, :filled] = tensor[source, :, :filled]
            for state in self._all_states():
                state[target] = state[source]
        self.clear(target, filled)

    def begin(self, slot: int, length: int) -> None:
        """Prepares a slot for a prompt of `length` tokens; its states are zeroed."""
        with torch.inference_mode():
            for state in self._all_states():
                state[slot].zero_()
        self.clear(slot, length)

    def clear(self, slot: int, start: int) -> None:
        """Zeroes a slot from token `start` on.

        Data of earlier requests there is masked, which means multiplied by zero. If it were NaN, as
        after an overflow in float16, the product would be NaN, too.
        """
        with torch.inference_mode():
            for tensor in self.tensors:
                tensor[slot, :, start:].zero_()

    def _all_states(self) -> Iterator[torch.Tensor]:
        return (state for states in self.states.values() for state in states)

    def _padded_count(self, count: int) -> int:
        """The next power of two, so that not every request that joins causes a copy of all."""
        if self._steady:
            return self._max_slots
        return min(self._max_slots, 1 << (count - 1).bit_length()) if count else 0

    def _padded_length(self, length: int) -> int:
        return max(_SHORTEST, 1 << (length - 1).bit_length()) if self._steady else bucket(length)

    def _bucketed(self, count: int, length: int) -> tuple[int, int]:
        """The largest padded count and length that fit into the budget."""
        padded = self._padded_length(length)
        slots = min(self._padded_count(count), self._budget // self._slot_bytes(padded))
        if slots >= count:
            return slots, padded
        return count, (self._budget // count - self.state_bytes) // self.token_bytes

    def _resize(self, count: int, length: int, filled: Sequence[int]) -> None:
        for tensors in (self.keys, self.values):
            for layer, old in tensors.items():
                # Zeros, as masked entries are multiplied by zero and must not be NaN.
                new = old.new_zeros(count, old.shape[1], length, old.shape[3])
                for slot, tokens in enumerate(filled):
                    if tokens:
                        new[slot, :, :tokens] = old[slot, :, :tokens]
                tensors[layer] = new
        kept = [slot for slot, tokens in enumerate(filled) if tokens]
        for layer, states in self.states.items():
            self.states[layer] = tuple(_resized(state, count, kept) for state in states)
        self.count, self.length = count, length
        self.version += 1


def _resized(state: torch.Tensor, count: int, kept: Sequence[int]) -> torch.Tensor:
    """Copies the kept slots of a state to new storage of `count` slots."""
    new = state.new_zeros(count, *state.shape[1:])
    new[kept] = state[kept]
    return new


def state_bytes(states: Mapping[int, Sequence[StateShape]]) -> int:
    """Returns the bytes of the states of a slot in all layers."""
    return sum(each.bytes for shapes in states.values() for each in shapes)


def token_bytes(layers: Iterable[LayerShape], dtype: torch.dtype) -> int:
    """Returns the bytes that a token takes in all layers."""
    numbers = sum(shape.kv_heads * (shape.key_dim + shape.value_dim) for shape in layers)
    return dtype.itemsize * numbers


def bucket(length: int) -> int:
    """Rounds a slot's length up, in steps of 64 tokens at first, then of at most a quarter."""
    step = max(_SHORTEST, (1 << length.bit_length()) // 8)
    return -(-length // step) * step
