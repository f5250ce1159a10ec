"""The state of a request in the torch engine's batch."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from silkline.core import Sampling
from silkline.engines import stepper
from silkline.engines.sampling import chance
from silkline.engines.torch.adapters import LoadedAdapter
from silkline.engines.torch.constraint import Matcher
from silkline.engines.torch.families.base import Prompt
from silkline.engines.torch.penalties import Penalties, penalties
from silkline.engines.torch.sampling import Draw
from silkline.engines.torch.schedule import Progress


@dataclass(eq=False, slots=True, kw_only=True)
class Job(stepper.Job):
    """A request, from its prompt to its last token.

    Attributes:
        prompt: The prepared prompt.
        sampling: The sampling settings; `max_tokens` fits the context and the cache.
        seed: The seed for sampling; random if the client gave none.
        scope: The scope of its request and its adapter; see `Request.reuse_scope`.
        adapter: The adapter that answers it; None for the base model.
        generated: The answer's tokens so far.
        features: Features of the prompt's images, each `[tokens, hidden]`, until `inputs` is set.
        inputs: Input of the text model for the tokens to prefill, `[tokens, hidden]`: the prompt,
            and the tokens generated before the request was preempted. None before the images are
            encoded and after the prefill.
        progress: How many tokens must be in the slot before the next one can be generated, and how
            many are.
        end_ids: Tokens that end the answer; set when it joins the batch.
        penalties: What changes the logits of its next token; None if nothing does.
        keeps_logits: Whether to set `first_logits`.
        first_logits: Logits of the answer's first token, float32 `[vocabulary]` on the CPU.
        matcher: Constrains the answer's tokens; it has seen those in `generated`.
    """

    prompt: Prompt
    sampling: Sampling
    seed: int
    scope: bytes | None = None
    adapter: LoadedAdapter | None = None
    generated: list[int] = field(default_factory=list)
    features: list[torch.Tensor | None] = field(default_factory=list)
    inputs: torch.Tensor | None = None
    progress: Progress = field(default_factory=lambda: Progress(1))
    end_ids: frozenset[int] = frozenset()
    penalties: Penalties | None = None
    keeps_logits: bool = False
    first_logits: torch.Tensor | None = None
    matcher: Matcher | None = None

    def __post_init__(self) -> None:
        stepper.Job.__post_init__(self)
        self.rewind()

    @property
    def prompt_length(self) -> int:
        """Length of the prompt in tokens."""
        return len(self.prompt.ids)

    @property
    def filled(self) -> int:
        """Number of tokens whose keys and values are in its slot."""
        return self.progress.done

    @property
    def maximum(self) -> int:
        """Maximum number of tokens in its slot."""
        return self.prompt_length + self.sampling.max_tokens

    @property
    def next_position(self) -> int:
        """The position of the token after those in the slot; valid once the prompt is in it."""
        return self.prompt.next_position + self.filled - self.prompt_length

    def join(self, end_ids: frozenset[int]) -> None:
        """Prepares it for the batch of a model whose answers end at `end_ids`."""
        sampling = self.sampling
        own = frozenset(sampling.stop_token_ids)
        ignored = end_ids - own if sampling.ignore_eos else frozenset()
        # After a complete form there is nothing but the end token.
        self.end_ids = own | end_ids if self.matcher is not None else own | (end_ids - ignored)
        self.kept_ids = own if sampling.include_stop else frozenset()
        seen = self.prompt.ids.tolist() if sampling.repetition_penalty != 1 else ()
        unwanted = ignored & self.end_ids
        self.penalties = penalties(sampling, seen, self.end_ids, unwanted)

    def add(self, token: int) -> None:
        """Adds the next token of its answer."""
        self.generated.append(token)
        if self.penalties is not None:
            self.penalties.add(token)

    def rewind(self) -> None:
        """Restarts the request without a slot, from image encoding on; keeps generated tokens."""
        self.features = [None] * len(self.prompt.images)
        self.inputs = None
        length = self.prompt_length + len(self.generated)
        self.progress = Progress(length, 0, self.prompt.blocks)

    def positions(self, start: int, end: int, rows: int) -> torch.Tensor:
        """Returns the positions of tokens to prefill, int64 `[rows, end - start]`.

        Args:
            start: Index of the first token.
            end: Index after the last token.
            rows: Rows of positions that the model takes; a prompt's single row is repeated.
        """
        known = self.prompt.positions[:, start:end].expand(rows, -1)
        missing = end - start - known.shape[1]
        if not missing:
            return known
        first = self.prompt.next_position + end - missing - self.prompt_length
        generated = torch.arange(first, first + missing).expand(rows, -1)
        return torch.cat((known, generated), 1)

    def draw(self) -> Draw:
        """Returns how to sample its next token."""
        sampling = self.sampling
        if sampling.temperature == 0:
            return Draw(0.0)
        drawn = chance(self.seed, len(self.generated))
        return Draw(sampling.temperature, sampling.top_p, drawn, sampling.top_k, sampling.min_p)
