"""The training of a student on a teacher's answers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from silkline.distil.loss import loss, soft_loss
from silkline.distil.questions import Questions, padded
from silkline.distil.teacher import Answers
from silkline.engines.torch.placement import has_bfloat16


@dataclass(frozen=True, slots=True)
class Method:
    """How a student is trained.

    Attributes:
        temperature: Divides the logits of both in the soft loss, above 0.
        soft: Weight of the soft loss, 0 to 1; the cross-entropy of the teacher's answers has the
            rest.
        batch: Questions in a step.
        seed: Seed of the order of the questions.
    """

    temperature: float = 2.0
    soft: float = 0.9
    batch: int = 64
    seed: int = 0


class DistilTask:
    """A `training.Task`: questions in an order that the seed fixes."""

    def __init__(
        self,
        model: Any,
        questions: Questions,
        answers: Answers,
        *,
        train: Sequence[int],
        held_out: Sequence[int],
        method: Method,
        identity: str,
    ) -> None:
        """Trains `model`, in place, on the questions `train`; `held_out` are never trained on."""
        self.model: nn.Module = model
        self.identity = identity
        self._questions, self._answers = questions, answers
        self._train, self._held_out = train, held_out
        self._method = method
        self._device: torch.device = model.device
        self._padding = int(model.generation_config.pad_token_id or 0)

    def loss(self, step: int) -> Tensor:
        """Returns the loss of a step's questions."""
        method = self._method
        size = min(method.batch, len(self._train))
        epoch, number = divmod(step, len(self._train) // size)
        order = torch.randperm(
            len(self._train), generator=torch.Generator().manual_seed(method.seed + epoch)
        )
        chosen = order[number * size : (number + 1) * size].tolist()
        numbers = [self._train[index] for index in chosen]
        targets = self._answers.targets(numbers, self._device)
        return loss(self._logits(numbers), targets, method.temperature, method.soft)

    def held_out(self) -> tuple[float, float]:
        """Returns the soft loss on the held-out questions, and the share of equal answers."""
        total, tokens, equal = 0.0, 0, 0
        for start in range(0, len(self._held_out), self._method.batch):
            numbers = self._held_out[start : start + self._method.batch]
            targets = self._answers.targets(numbers, self._device)
            logits = self._logits(numbers)
            total += float(soft_loss(logits, targets, self._method.temperature)) * len(logits)
            tokens += len(logits)
            hits = (logits.argmax(-1) == targets.tokens).tolist()
            for number in numbers:
                length = len(self._answers.tokens[number])
                equal += all(hits[:length])
                hits = hits[length:]
        return total / tokens, equal / len(self._held_out)

    def _logits(self, numbers: Sequence[int]) -> Tensor:
        """The student's logits at the tokens of the teacher's answers, one after another."""
        prompts = [self._questions.prompt(number) for number in numbers]
        said = [self._answers.tokens[number] for number in numbers]
        rows = [(*asked, *answer) for asked, answer in zip(prompts, said, strict=True)]
        batch = padded(rows, self._questions.pixels(numbers, self._device), self._padding)
        before = torch.zeros_like(batch.ids, dtype=torch.bool)
        for row, (asked, answer) in enumerate(zip(prompts, said, strict=True)):
            before[row, len(asked) - 1 : len(asked) + len(answer) - 1] = True
        model: Any = self.model
        with precision(self._device):
            hidden = model.model(**batch.arguments(), use_cache=False).last_hidden_state
            logits: Tensor = model.lm_head(hidden[before])
        return logits


def precision(device: torch.device) -> AbstractContextManager[Any]:
    """Mixed precision where the hardware multiplies bfloat16; float32 elsewhere."""
    return torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device))
