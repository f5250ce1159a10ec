"""One step of the text model over a packed batch: next tokens and pieces of prompts together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from silkline.engines.torch.attention import Layout, PackedAttention, Piece, decode_mask
from silkline.engines.torch.decode import Decoder
from silkline.engines.torch.families.base import Family
from silkline.engines.torch.job import Job
from silkline.engines.torch.sampling import choose
from silkline.engines.torch.slots import KvSlots
from silkline.engines.torch.text_forward import forward


@dataclass(frozen=True, slots=True)
class Part:
    """Tokens `start` to `end` of a prompt, for a slot."""

    job: Job
    slot: int
    start: int
    end: int

    @property
    def finishes(self) -> bool:
        """Whether the next token follows from it."""
        return self.end == self.job.progress.length


class Runner:
    """Runs steps; what is in them, others decide."""

    def __init__(
        self,
        family: Family,
        slots: KvSlots,
        attention: PackedAttention,
        decoder: Decoder,
        *,
        device: torch.device,
    ) -> None:
        self._family = family
        self._slots = slots
        self._attention = attention
        self._decoder = decoder
        self._device = device

    def run(self, decoding: Sequence[Job], parts: Sequence[Part]) -> list[int]:
        """One step.

        Args:
            decoding: Those that take their next token, of the slots 0, 1, 2, ...
            parts: Pieces of prompts; the slots must have room for them, and for a token more of
                each of the decoding ones.

        Returns:
            The next token of each decoding one, then of each part that finishes its prompt.
        """
        finishing = [part.job for part in parts if part.finishes]
        sampled = [*decoding, *finishing]
        logits = self._mixed(decoding, parts) if parts else self._decoder.logits(decoding)
        if not sampled:
            return []
        for row, job in enumerate(finishing, len(decoding)):
            if job.keeps_logits:
                job.first_logits = logits[row].float().cpu()
        ids: list[int] = choose(logits, [each.draw() for each in sampled]).tolist()
        return ids

    def _mixed(self, decoding: Sequence[Job], parts: Sequence[Part]) -> torch.Tensor:
        """Logits of the rows to be sampled, `[N, vocabulary]`."""
        layout = self._layout(decoding, parts)
        ends = [
            chunk.row + chunk.end - chunk.start - 1
            for chunk, part in zip(layout.chunks, parts, strict=True)
            if part.finishes
        ]
        # Copied before the model is launched: afterwards the copy would wait for all of it.
        rows = torch.tensor([*range(len(decoding)), *ends], dtype=torch.int64, device=self._device)
        hidden = forward(
            self._family,
            self._attention,
            layout,
            self._inputs(decoding, parts),
            self._positions(decoding, parts),
        )
        return self._family.logits(hidden[rows])

    def _layout(self, decoding: Sequence[Job], parts: Sequence[Part]) -> Layout:
        count, chunks = len(decoding), []
        slots = [torch.arange(count)]
        places = [torch.tensor([each.filled for each in decoding], dtype=torch.int64)]
        row = count
        for part in parts:
            blocks = part.job.progress.blocks
            chunks.append(Piece(row, part.slot, part.start, part.end, blocks))
            places.append(torch.arange(part.start, part.end))
            slots.append(torch.full((part.end - part.start,), part.slot))
            row += part.end - part.start
        layout = Layout(
            torch.cat(slots).to(self._device),
            torch.cat(places).to(self._device),
            decoding=count,
            chunks=chunks,
        )
        if decoding:
            longest = max(each.filled for each in decoding) + 1
            layout.length = self._slots.worth_reading(longest)
            layout.masks = {
                window: decode_mask(
                    layout.places[:count], layout.length, window, self._decoder.dtype
                )
                for window in self._decoder.windows
            }
        return layout

    def _inputs(self, decoding: Sequence[Job], parts: Sequence[Part]) -> torch.Tensor:
        """`[T, hidden]`."""
        inputs = []
        if decoding:
            newest = torch.tensor([each.generated[-1] for each in decoding], device=self._device)
            inputs.append(self._family.embed_next(newest))
        for part in parts:
            whole = part.job.inputs
            if whole is None:
                raise RuntimeError("a prompt was scheduled before its pictures were encoded")
            inputs.append(whole[part.start : part.end])
        return torch.cat(inputs)

    def _positions(self, decoding: Sequence[Job], parts: Sequence[Part]) -> torch.Tensor:
        """Int64 `[P, T]`."""
        rows = self._decoder.position_rows
        positions = [part.job.positions(part.start, part.end, rows) for part in parts]
        if decoding:
            newest = torch.tensor([each.next_position for each in decoding])
            positions.insert(0, newest.expand(rows, -1))
        return torch.cat(positions, 1).to(self._device)
