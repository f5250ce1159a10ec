"""Asks the teacher: its answers, and its most likely tokens at each token of them.

Results are written to disk in parts, so that an interrupted run continues and a second student of
the same teacher asks nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from silkline.distil.loss import Targets
from silkline.distil.questions import Questions, padded
from silkline.engines.torch.families.common import Adapter
from silkline.errors import ConfigError, EnvironmentFault
from silkline.stores.whole_file import replace_file

_PART = 2048
"""Questions in a file."""

_BATCH = 64
_NONE = -1
"""Fills the tokens after an answer's end."""

OnAsked = Callable[[int, int], None]
"""Called with the number of questions that are answered, and of all."""


class Answers:
    """A teacher's answers, by question.

    Attributes:
        tokens: Each answer's tokens, its end token included if it came.
    """

    def __init__(self, parts: Sequence[dict[str, Tensor]]) -> None:
        """Joins the parts, in order."""
        self._parts = parts
        self.tokens = [
            tuple(token for token in row if token != _NONE)
            for part in parts
            for row in part["tokens"].tolist()
        ]

    def targets(self, numbers: Sequence[int], device: torch.device) -> Targets:
        """Returns what the teacher said at all tokens of some answers, one after another."""
        found = [self._row(number) for number in numbers]
        tokens, top, logprobs = (
            torch.cat(column).to(device) for column in zip(*found, strict=True)
        )
        return Targets(tokens, top.long(), logprobs.float())

    def _row(self, number: int) -> tuple[Tensor, Tensor, Tensor]:
        part = self._parts[number // _PART]
        row, length = number % _PART, len(self.tokens[number])
        tokens, top, logprobs = (part[name][row, :length] for name in ("tokens", "top", "logprobs"))
        return tokens.long(), top, logprobs


def ask_teacher(
    family: Adapter,
    questions: Questions,
    folder: Path,
    *,
    max_tokens: int,
    top: int,
    temperature: float,
    on_asked: OnAsked,
) -> Answers:
    """Returns the teacher's greedy answers; those that are in the folder are not asked for.

    Args:
        family: The teacher.
        questions: The questions.
        folder: Keeps the answers of these questions, at this temperature, and no others.
        max_tokens: Maximum tokens of an answer.
        top: Most likely tokens that are kept at each token.
        temperature: Divides the logits before their log-probabilities are kept.
        on_asked: Called after each batch.

    Raises:
        ConfigError: A file in the folder is damaged.
        EnvironmentFault: A file cannot be written.
    """
    parts = []
    for start in range(0, len(questions), _PART):
        path = folder / f"{start // _PART:05}.safetensors"
        numbers = range(start, min(start + _PART, len(questions)))
        if path.exists():
            parts.append(_read(path))
            continue
        rows: dict[int, dict[str, Tensor]] = {}
        for batch in _batches(questions, numbers):
            found = _asked(family, questions, batch, max_tokens, top, temperature)
            rows.update(zip(batch, found, strict=True))
            on_asked(start + len(rows), len(questions))
        part = _joined([rows[number] for number in numbers])
        _write(path, part)
        parts.append(part)
    return Answers(parts)


def _batches(questions: Questions, numbers: Sequence[int]) -> Iterator[list[int]]:
    """Questions of similar length together."""
    ordered = sorted(numbers, key=lambda number: len(questions.prompt(number)))
    for start in range(0, len(ordered), _BATCH):
        yield ordered[start : start + _BATCH]


def answer(family: Adapter, questions: Questions, max_tokens: int) -> list[tuple[int, ...]]:
    """Returns a model's greedy answers as tokens, their end tokens included."""
    found: dict[int, tuple[int, ...]] = {}
    for batch in _batches(questions, range(len(questions))):
        rows, _ = _generated(family, questions, batch, max_tokens)
        found.update((number, tuple(row.tolist())) for number, row in zip(batch, rows, strict=True))
    return [found[number] for number in range(len(questions))]


def _asked(
    family: Adapter,
    questions: Questions,
    numbers: Sequence[int],
    max_tokens: int,
    top: int,
    temperature: float,
) -> list[dict[str, Tensor]]:
    rows, logits = _generated(family, questions, numbers, max_tokens)
    logprobs = (logits.float() / temperature).log_softmax(-1)
    kept = logprobs.topk(min(top, logprobs.shape[-1]), dim=-1)
    return [
        {"tokens": row.int(), "top": indices[: len(row)].int(), "logprobs": values[: len(row)]}
        for row, values, indices in zip(rows, kept.values.cpu(), kept.indices.cpu(), strict=True)
    ]


@torch.no_grad()
def _generated(
    family: Adapter, questions: Questions, numbers: Sequence[int], max_tokens: int
) -> tuple[list[Tensor], Tensor]:
    """Greedy answers, and the logits of all their steps, (n, steps, vocabulary)."""
    ends = sorted(family.end_ids)
    model: Any = family.model
    rows = [questions.prompt(number) for number in numbers]
    batch = padded(rows, questions.pixels(numbers, model.device), ends[0], left=True)
    made = model.generate(
        **batch.arguments(),
        max_new_tokens=max_tokens,
        do_sample=False,
        eos_token_id=ends,
        pad_token_id=ends[0],
        output_logits=True,
        return_dict_in_generate=True,
    )
    answers = []
    for row in made.sequences[:, batch.ids.shape[1] :].cpu():
        ended = torch.isin(row, torch.tensor(ends)).nonzero()
        answers.append(row[: int(ended[0]) + 1] if len(ended) else row)
    return answers, torch.stack(made.logits, 1)


def _joined(rows: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Rows of different lengths as tensors, filled up."""
    fills = {"tokens": _NONE, "top": 0, "logprobs": 0.0}
    return {
        name: nn.utils.rnn.pad_sequence(
            [row[name] for row in rows], batch_first=True, padding_value=fill
        )
        for name, fill in fills.items()
    }


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ConfigError(f"{path} is damaged. Remove it: the teacher is asked again.") from error


def _write(path: Path, part: dict[str, Tensor]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, save({name: value.contiguous() for name, value in part.items()}))
    except OSError as error:
        raise EnvironmentFault(f"{path} cannot be written: {error.strerror}.") from error
