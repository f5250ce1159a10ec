"""Runs a step of the text model over a packed batch of next tokens and prompt chunks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from silkline.engines.torch.adapters import Adapters
from silkline.engines.torch.attention import PackedAttention
from silkline.engines.torch.decode import Decoder
from silkline.engines.torch.families.base import Family
from silkline.engines.torch.families.inputs import joined
from silkline.engines.torch.job import Job
from silkline.engines.torch.layout import Layout, PromptChunk, decode_mask
from silkline.engines.torch.sampled import Sampled, sample
from silkline.engines.torch.slots import KvSlots
from silkline.engines.torch.text_forward import forward


@dataclass(frozen=True, slots=True)
class Part:
    """A chunk of a prompt to prefill: its tokens `[start, end)`, and the slot of its request."""

    job: Job
    slot: int
    start: int
    end: int

    @property
    def finishes(self) -> bool:
        """Whether it completes the prefill, so that a token is sampled."""
        return self.end == self.job.progress.length


class Runner:
    """Runs steps; the batch decides what they contain."""

    def __init__(
        self,
        family: Family,
        slots: KvSlots,
        attention: PackedAttention,
        decoder: Decoder,
        adapters: Adapters,
        *,
        device: torch.device,
    ) -> None:
        self._family = family
        self._adapters = adapters
        self._slots = slots
        self._attention = attention
        self._decoder = decoder
        self._device = device

    def run(self, decoding: Sequence[Job], parts: Sequence[Part]) -> list[Sampled]:
        """Runs one step.

        Args:
            decoding: Requests that get their next token, in the slots 0, 1, 2, ...
            parts: Prompt chunks; the slots must have room for them, and for one more token of each
                decoding request.

        Returns:
            The next token of each decoding request, then of each part that finishes its prompt.
        """
        finishing = [part.job for part in parts if part.finishes]
        sampled = [*decoding, *finishing]
        logits = self._mixed(decoding, parts) if parts else self._decoder.logits(decoding)
        if not sampled:
            return []
        return sample(logits, sampled, self._family.token_bytes)

    def _mixed(self, decoding: Sequence[Job], parts: Sequence[Part]) -> torch.Tensor:
        """Runs the model over next tokens and prompt chunks; logits to sample `[N, vocabulary]`."""
        layout = self._layout(decoding, parts)
        ends = [
            chunk.row + chunk.end - chunk.start - 1
            for chunk, part in zip(layout.chunks, parts, strict=True)
            if part.finishes
        ]
        # Copied before the model is launched: a later copy would wait until the model is done.
        rows = torch.tensor([*range(len(decoding)), *ends], dtype=torch.int64, device=self._device)
        inputs = self._inputs(decoding, parts)
        positions = self._positions(decoding, parts)
        spans = [(job.adapter, 1) for job in decoding]
        chunks = [(part.job.adapter, part.end - part.start) for part in parts]
        with self._adapters.applied([*spans, *chunks]):
            hidden = forward(self._family, self._attention, layout, inputs, positions)
        ending = [(part.job.adapter, 1) for part in parts if part.finishes]
        with self._adapters.applied([*spans, *ending]):
            return self._family.logits(hidden[rows])

    def _layout(self, decoding: Sequence[Job], parts: Sequence[Part]) -> Layout:
        count, chunks = len(decoding), []
        slots = [torch.arange(count)]
        offsets = [torch.tensor([job.filled for job in decoding], dtype=torch.int64)]
        row = count
        for part in parts:
            blocks = part.job.progress.blocks
            windowed = part.job.prompt.windowed_blocks
            chunks.append(PromptChunk(row, part.slot, part.start, part.end, blocks, windowed))
            offsets.append(torch.arange(part.start, part.end))
            slots.append(torch.full((part.end - part.start,), part.slot))
            row += part.end - part.start
        layout = Layout(
            torch.cat(slots).to(self._device),
            torch.cat(offsets).to(self._device),
            decoding=count,
            chunks=chunks,
        )
        if decoding:
            longest = max(job.filled for job in decoding) + 1
            layout.length = self._slots.worth_reading(longest)
            layout.masks = {
                window: decode_mask(
                    layout.offsets[:count], layout.length, window, self._decoder.dtype
                )
                for window in self._decoder.windows
            }
        return layout

    def _inputs(self, decoding: Sequence[Job], parts: Sequence[Part]) -> torch.Tensor:
        """The input of the text model, `[T, width]`."""
        inputs = []
        if decoding:
            newest = torch.tensor([job.generated[-1] for job in decoding], device=self._device)
            with self._adapters.applied([(job.adapter, 1) for job in decoding]):
                inputs.append(self._family.embed_next(newest))
        for part in parts:
            prompt = part.job.inputs
            if prompt is None:
                raise RuntimeError("a prompt was scheduled before its images were encoded")
            inputs.append(prompt[part.start : part.end])
        return joined(inputs)

    def _positions(self, decoding: Sequence[Job], parts: Sequence[Part]) -> torch.Tensor:
        """The positions of all tokens, int64 `[P, T]`."""
        rows = self._decoder.position_rows
        positions = [part.job.positions(part.start, part.end, rows) for part in parts]
        if decoding:
            newest = torch.tensor([job.next_position for job in decoding])
            positions.insert(0, newest.expand(rows, -1))
        return torch.cat(positions, 1).to(self._device)
