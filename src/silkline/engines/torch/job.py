"""A request in the torch engine's batch."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from silkline.core import Sampling
from silkline.engines import stepper
from silkline.engines.torch.families.base import Prompt
from silkline.engines.torch.sampling import Draw, chance
from silkline.engines.torch.schedule import Progress


@dataclass(eq=False, slots=True, kw_only=True)
class Job(stepper.Job):
    """A request, from its prompt to its last token.

    Attributes:
        prompt: What was asked.
        sampling: How to answer; `max_tokens` fits the context and the cache.
        seed: For sampling; drawn by chance where the client gave none.
        generated: The tokens of the answer so far.
        features: Of the prompt's pictures, each `[tokens, hidden]`, until `inputs` are made.
        inputs: What the text model takes for the tokens that are to be prefilled,
            `[tokens, hidden]`: the prompt, and what was generated before the request had to give
            its slot up. None before the pictures are encoded and after the prefill.
        progress: How many tokens the slot must hold before the next one can be generated, and how
            many it holds.
        keeps_logits: Whether `first_logits` are wanted.
        first_logits: Of the answer's first token, float32 `[vocabulary]` on the CPU.
    """

    prompt: Prompt
    sampling: Sampling
    seed: int
    generated: list[int] = field(default_factory=list)
    features: list[torch.Tensor | None] = field(default_factory=list)
    inputs: torch.Tensor | None = None
    progress: Progress = field(default_factory=lambda: Progress(1))
    keeps_logits: bool = False
    first_logits: torch.Tensor | None = None

    def __post_init__(self) -> None:
        self.rewind()

    @property
    def prompt_length(self) -> int:
        """Tokens of the prompt."""
        return len(self.prompt.ids)

    @property
    def filled(self) -> int:
        """Tokens whose keys and values its slot holds."""
        return self.progress.done

    @property
    def maximum(self) -> int:
        """Tokens that its slot holds at the very most."""
        return self.prompt_length + self.sampling.max_tokens

    @property
    def next_position(self) -> int:
        """The position of the token after those in the slot, once the prompt is."""
        return self.prompt.next_position + self.filled - self.prompt_length

    def rewind(self) -> None:
        """Starts again without a slot, from the pictures on; what was generated stays."""
        self.features = [None] * len(self.prompt.images)
        self.inputs = None
        length = self.prompt_length + len(self.generated)
        self.progress = Progress(length, 0, self.prompt.blocks)

    def positions(self, start: int, end: int, rows: int) -> torch.Tensor:
        """The positions of the tokens that are to be prefilled, int64 `[rows, end - start]`.

        Args:
            start: The first token.
            end: One past the last.
            rows: As the family has them; a prompt of one row has the same in each.
        """
        known = self.prompt.positions[:, start:end].expand(rows, -1)
        missing = end - start - known.shape[1]
        if not missing:
            return known
        first = self.prompt.next_position + end - missing - self.prompt_length
        further = torch.arange(first, first + missing).expand(rows, -1)
        return torch.cat((known, further), 1)

    def draw(self) -> Draw:
        """How its next token is sampled."""
        sampling = self.sampling
        if sampling.temperature == 0:
            return Draw(0.0)
        where = chance(self.seed, len(self.generated))
        return Draw(sampling.temperature, sampling.top_p, where)
