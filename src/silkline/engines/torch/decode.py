"""Runs decode-only steps, on CUDA as captured graphs over static buffers.

On CUDA such a step is short, and launching its many kernels would take longer than running them, so
it is captured once per shape as a CUDA graph and replayed. A graph has fixed shapes and addresses:
the batch is padded to a bucket with unused slots, and the inputs of each step are copied into
buffers. On the CPU the same code runs without graphs and padding.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from silkline.engines.torch.adapters import Adapters
from silkline.engines.torch.attention import PackedAttention
from silkline.engines.torch.families.base import Family
from silkline.engines.torch.job import Job
from silkline.engines.torch.layout import Layout, decode_mask
from silkline.engines.torch.slots import KvSlots, bucket
from silkline.engines.torch.text_forward import forward
from silkline.engines.torch.vision import DEVICE_ERROR

logger = logging.getLogger("silkline.engines.torch")

_MAX_FRAMES = 64
"""Maximum number of cached shapes; the least recently used one is evicted first."""

_WARMING_RUNS = 2
"""Runs before a capture: in the first runs libraries choose kernels and allocate workspaces."""


@dataclass(eq=False, slots=True)
class _Frame:
    """The buffers and the graph of one shape.

    Attributes:
        inputs: The inputs of a step: each slot's newest token, its index in the slot and its
            position; int64 `[3, B]`.
        slots: 0, 1, 2, ..., int64 `[B]`.
        length: Number of tokens of each slot that are read.
        logits: The output of the captured step, `[B, vocabulary]`.
        graph: The captured step; None if the step runs without a graph.
    """

    inputs: torch.Tensor
    slots: torch.Tensor
    length: int
    logits: torch.Tensor | None = None
    graph: torch.cuda.CUDAGraph | None = None


class Decoder:
    """Computes the logits of the next tokens of all decoding requests."""

    def __init__(
        self,
        family: Family,
        slots: KvSlots,
        attention: PackedAttention,
        adapters: Adapters,
        *,
        windows: Iterable[int | None],
        position_rows: int,
        dtype: torch.dtype,
        padded: bool,
    ) -> None:
        """Creates a decoder without captured graphs.

        Args:
            family: The model.
            slots: Stores keys and values.
            attention: The attention that the model's layers call.
            adapters: The model's adapters.
            windows: Sliding windows of its layers.
            position_rows: Rows of its positions.
            dtype: Type of its weights.
            padded: Whether to pad batches to buckets, as graphs require.
        """
        self._family = family
        self._slots = slots
        self._attention = attention
        self._adapters = adapters
        self._device = device = slots.tensors[0].device
        self._padded = padded
        self._captures = padded and device.type == "cuda"
        # One memory pool for all graphs, instead of one for each: logits are read before the next
        # graph runs, so all can use the same memory.
        self._pool = torch.cuda.graph_pool_handle() if self._captures else None
        self._frames: OrderedDict[tuple[int, int], _Frame] = OrderedDict()
        self._version = slots.version
        self.windows = frozenset(windows)
        """Sliding windows of the layers; None for full attention."""
        self.position_rows = position_rows
        """Rows of the positions: 1 or 3."""
        self.dtype = dtype
        """Type of attention masks."""

    def logits(self, decoding: Sequence[Job]) -> torch.Tensor:
        """Returns the next tokens' logits, `[len(decoding), vocabulary]`.

        They are valid until the next call.

        Args:
            decoding: The requests in the slots 0, 1, 2, ..., at least one; each slot must have room
                for one more token.
        """
        frame = self._frame(decoding)
        count = len(decoding)
        inputs = torch.tensor(
            [
                [job.generated[-1] for job in decoding],
                [job.filled for job in decoding],
                [job.next_position for job in decoding],
            ]
        )
        frame.inputs[:, :count].copy_(inputs)
        # The other slots are free: what is written at their index 0 is overwritten later.
        frame.inputs[:, count:].zero_()
        # Slots without a request get the rows of the base.
        spans = [*((job.adapter, 1) for job in decoding), (None, len(frame.slots) - count)]
        with self._adapters.applied([span for span in spans if span[1]]) as adapted:
            if frame.graph is None or adapted:  # a graph is captured without adapters
                return self._compute(frame)[:count]
            frame.graph.replay()
        if frame.logits is None:
            raise RuntimeError("a captured step has no output")
        return frame.logits[:count]

    def _frame(self, decoding: Sequence[Job]) -> _Frame:
        count, longest = len(decoding), max(job.filled for job in decoding) + 1
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
        inputs = torch.zeros(3, count, dtype=torch.int64, device=self._device)
        frame = _Frame(inputs, torch.arange(count, device=self._device), length)
        if self._captures:
            self._capture(frame)
        return frame

    def _capture(self, frame: _Frame) -> None:
        # These runs overwrite index 0 of every slot of the frame, and the states of these slots.
        count = len(frame.slots)
        changed = [tensor[:count, :, 0] for tensor in self._slots.tensors]
        changed += [state[:count] for states in self._slots.states.values() for state in states]
        saved = [tensor.clone() for tensor in changed]
        try:
            self._record(frame)
        except DEVICE_ERROR:
            raise
        except torch.OutOfMemoryError:
            logger.warning(
                "not enough memory to capture a graph of %d requests; they run without a graph",
                len(frame.slots),
            )
        except RuntimeError:
            logger.exception("the model's step cannot be captured; it runs without a graph")
            self._captures = False
        for tensor, before in zip(changed, saved, strict=True):
            tensor.copy_(before)

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
        """Runs the step; never waits for the device."""
        ids, offsets, positions = frame.inputs.unbind()
        layout = Layout(
            slots=frame.slots,
            offsets=offsets,
            decoding=len(frame.slots),
            length=frame.length,
            masks={
                window: decode_mask(offsets, frame.length, window, self.dtype)
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
