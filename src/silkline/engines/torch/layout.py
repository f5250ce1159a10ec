"""Describes a packed batch: whose token each row is, and which tokens it attends to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch


@dataclass(eq=False, slots=True)
class PromptChunk:
    """A chunk of a prompt in the packed batch.

    Attributes:
        row: Index of its first token in the batch.
        slot: The slot of its request.
        start: Index of its first token in the prompt.
        end: Index after its last token in the prompt.
        blocks: Ranges `[start, end)` of the prompt with bidirectional attention inside.
        windowed: Whether blocks hold in layers with a sliding window only, and within it.
    """

    row: int
    slot: int
    start: int
    end: int
    blocks: tuple[tuple[int, int], ...] = ()
    windowed: bool = False
    _masks: dict[tuple[int | None, bool], torch.Tensor | None] = field(
        default_factory=dict, init=False
    )

    def mask(self, window: int | None, like: torch.Tensor) -> torch.Tensor | None:
        """Returns the mask to add to the scores, `[end - start, end]`; None means causal.

        Args:
            window: Number of tokens that a token attends to, itself included; None means all.
            like: A tensor with the type and device of the mask.
        """
        blocks = window is not None or not self.windowed
        if window is not None and self.end <= window:
            window = None
        if (window, blocks) not in self._masks:
            self._masks[window, blocks] = self._build(window, like, blocks=blocks)
        return self._masks[window, blocks]

    def _build(
        self, window: int | None, like: torch.Tensor, *, blocks: bool
    ) -> torch.Tensor | None:
        inside = [block for block in self.blocks if blocks and self.start <= block[0] < self.end]
        if window is None and not inside and self.start == 0:
            return None
        rows = torch.arange(self.start, self.end, device=like.device)
        visible = _visible(rows, self.end, window)
        for start, end in inside:
            limit = window if self.windowed and window is not None else end - start
            block = visible[start - self.start : end - self.start, start:end]
            block |= _near(end - start, limit, like)
        return additive(visible, like.dtype)


@dataclass(eq=False, slots=True)
class Layout:
    """The layout of a packed batch.

    Attributes:
        slots: The slot of each token's request, int64 `[T]`.
        offsets: The index of each token in its slot, int64 `[T]`.
        decoding: Number of decoding requests, in the slots 0, 1, 2, ...; their tokens come first.
        length: Number of tokens in each slot that decoding requests read.
        masks: Masks to add to their scores, `[decoding, 1, 1, length]`, by the layer's window.
        chunks: The prompt chunks, whose tokens follow.
    """

    slots: torch.Tensor
    offsets: torch.Tensor
    decoding: int = 0
    length: int = 0
    masks: dict[int | None, torch.Tensor] = field(default_factory=dict)
    chunks: Sequence[PromptChunk] = ()
    _rows: dict[int, torch.Tensor] = field(default_factory=dict, init=False)

    def rows(self, storage: torch.Tensor) -> torch.Tensor:
        """Returns the indices of the rows to write, for each token and each KV head.

        Args:
            storage: A layer's keys or values as rows of `dim`: `[count, kv_heads, length, dim]`.

        Returns:
            Int64 `[T * kv_heads]`.
        """
        _, kv_heads, length, _ = storage.shape
        if kv_heads not in self._rows:
            heads = torch.arange(kv_heads, device=self.slots.device)
            starts = (self.slots.unsqueeze(1) * kv_heads + heads) * length
            self._rows[kv_heads] = (starts + self.offsets.unsqueeze(1)).flatten()
        return self._rows[kv_heads]


def decode_mask(
    last: torch.Tensor, length: int, window: int | None, dtype: torch.dtype
) -> torch.Tensor:
    """Returns the mask of decoding requests over their slots, `[B, 1, 1, length]`.

    Args:
        last: The index of each request's newest token in its slot, int64 `[B]`.
        length: Number of tokens of each slot that are read.
        window: The layer's sliding window; None means all tokens.
        dtype: Type of the scores.
    """
    return additive(_visible(last, length, window), dtype)[:, None, None, :]


def _visible(indices: torch.Tensor, length: int, window: int | None) -> torch.Tensor:
    """Which of the first `length` tokens each token attends to; bool `[indices, length]`."""
    columns = torch.arange(length, device=indices.device)
    rows = indices.unsqueeze(1)
    visible = columns <= rows
    if window is not None:
        visible &= columns > rows - window
    return visible


def _near(count: int, window: int, like: torch.Tensor) -> torch.Tensor:
    """Which of `count` tokens are later, or less than a window earlier; bool `[count, count]`."""
    indices = torch.arange(count, device=like.device)
    return indices > indices.unsqueeze(1) - window


def additive(visible: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Converts a boolean mask to an additive one: zero where visible, minus infinity elsewhere."""
    zeros = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
    return zeros.masked_fill_(~visible, float("-inf"))
