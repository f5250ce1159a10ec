"""The step that holds next tokens alone, over buffers that stay where they are.

On CUDA such a step is short, and the launch of its many kernels would take longer than they do, so
it is captured once as a graph for each shape and replayed. A graph has fixed shapes and addresses:
the batch is padded to a bucket by slots that nobody reads, and what differs from step to step is
copied into buffers. Elsewhere the same code runs as it stands, without padding.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from silkline.engines.torch.attention import Layout, PackedAttention, decode_mask
from silkline.engines.torch.families.base import Family
from silkline.engines.torch.job import Job
from silkline.engines.torch.slots import KvSlots, bucket
from silkline.engines.torch.text_forward import forward
from silkline.engines.torch.vision import DEVICE_ERROR

logger = logging.getLogger("silkline.engines.torch")

_MAX_FRAMES = 64
"""Shapes that are kept; the one not used for longest goes first."""

_WARMING_RUNS = 2
"""Before a capture: libraries choose their kernels and take their workspaces in the first runs."""


@dataclass(eq=False, slots=True)
class _Frame:
    """The buffers of one shape.

    Attributes:
        numbers: What differs from step to step: each slot's newest token, its place and its
            position; int64 `[3, B]`.
        slots: 0, 1, 2, ..., int64 `[B]`.
        length: How many tokens of the slots are looked at.
        logits: What came, `[B, vocabulary]`.
        graph: The captured step.
    """

    numbers: torch.Tensor
    slots: torch.Tensor
    length: int
    logits: torch.Tensor | None = None
    graph: torch.cuda.CUDAGraph | None = None


class Decoder:
    """Computes the logits of the next tokens of all that generate."""

    def __init__(
        self,
        family: Family,
        slots: KvSlots,
        attention: PackedAttention,
        *,
        windows: Iterable[int | None],
        position_rows: int,
        device: torch.device,
        dtype: torch.dtype,
        padded: bool,
    ) -> None:
        """Makes a decoder that has captured nothing yet.

        Args:
            family: The model.
            slots: Where its keys and values are.
            attention: Which its layers call.
            windows: Of its layers.
            position_rows: Rows of its positions.
            device: Where it is.
            dtype: Of its weights.
            padded: Whether batches are padded to buckets, as graphs need it.
        """
        self._family = family
        self._slots = slots
        self._attention = attention
        self._device = device
        self._padded = padded
        self._captures = padded and device.type == "cuda"
        # One pool for all graphs: logits are read before the next graph runs, so all may use the
        # same memory, of which each would keep its own otherwise.
        self._pool = torch.cuda.graph_pool_handle() if self._captures else None
        self._frames: OrderedDict[tuple[int, int], _Frame] = OrderedDict()
        self._version = slots.version
        self.windows = frozenset(windows)
        """The windows of the layers, None for those that see all."""
        self.position_rows = position_rows
        """Rows of the positions: 1, or 3."""
        self.dtype = dtype
        """Of the scores' masks."""

    def logits(self, decoding: Sequence[Job]) -> torch.Tensor:
        """The next tokens' logits, `[len(decoding), vocabulary]`.

        They are valid until the next call.

        Args:
            decoding: Those of the slots 0, 1, 2, ..., at least one; each slot must have room for a
                token more.
        """
        frame = self._frame(decoding)
        count = len(decoding)
        numbers = torch.tensor(
            [
                [each.generated[-1] for each in decoding],
                [each.filled for each in decoding],
                [each.next_position for each in decoding],
            ]
        )
        frame.numbers[:, :count].copy_(numbers)
        # The others are free slots: what is written at their first place is overwritten later.
        frame.numbers[:, count:].zero_()
        if frame.graph is not None:
            frame.graph.replay()
        else:
            frame.logits = self._compute(frame)
        if frame.logits is None:
            raise RuntimeError("a captured step has no output")
        return frame.logits[:count]

    def _frame(self, decoding: Sequence[Job]) -> _Frame:
        count, longest = len(decoding), max(each.filled for each in decoding) + 1
        if not self._padded:
            return self._make(count, self._slots.worth_reading(longest))
        if self._version != self._slots.version:
            self._frames.clear()
            self._version = self._slots.version
        count = min(1 << (count - 1).bit_length(), self._slots.count)
        shape = count, min(bucket(longest), self._slots.length)
        frame = self._frames.get(shape)
        if frame is None:
            frame = self._frames[shape] = self._make(*shape)
            if len(self._frames) > _MAX_FRAMES:
                self._frames.popitem(last=False)
        self._frames.move_to_end(shape)
        return frame

    def _make(self, count: int, length: int) -> _Frame:
        numbers = torch.zeros(3, count, dtype=torch.int64, device=self._device)
        frame = _Frame(numbers, torch.arange(count, device=self._device), length)
        if self._captures:
            self._capture(frame)
        return frame

    def _capture(self, frame: _Frame) -> None:
        # Runs write at place 0 of every slot of the frame: what is there must be put back.
        every = [*self._slots.keys, *self._slots.values]
        kept = [tensor[: len(frame.slots), :, 0].clone() for tensor in every]
        try:
            self._record(frame)
        except DEVICE_ERROR:
            raise
        except torch.OutOfMemoryError:
            logger.warning("no memory for a graph of %d requests", len(frame.slots))
        except RuntimeError:
            logger.exception("the model's step cannot be captured; it runs without a graph")
            self._captures = False
        for tensor, first in zip(every, kept, strict=True):
            tensor[: len(first), :, 0] = first

    def _record(self, frame: _Frame) -> None:
        stream: torch.cuda.Stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARMING_RUNS):
                self._compute(frame)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            frame.logits = self._compute(frame)
        frame.graph = graph

    def _compute(self, frame: _Frame) -> torch.Tensor:
        """The step itself; never waits for the device."""
        ids, places, positions = frame.numbers.unbind()
        layout = Layout(
            slots=frame.slots,
            places=places,
            decoding=len(frame.slots),
            length=frame.length,
            masks={
                window: decode_mask(places, frame.length, window, self.dtype)
                for window in self.windows
            },
        )
        hidden = forward(
            self._family,
            self._attention,
            layout,
            self._family.embed_next(ids),
            positions.expand(self.position_rows, -1),
        )
        return self._family.logits(hidden)
