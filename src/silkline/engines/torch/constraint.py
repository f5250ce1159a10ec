"""Constrains the tokens of answers, with llguidance.

llguidance bounds the time and the memory of every step, so that a request that is too costly fails
alone (docs/decisions/0023-structured-output.md).
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from silkline.core import Constraint, ConstraintKind
from silkline.engines.grammar import CompiledConstraints, grammar_of, lark
from silkline.engines.grammar.refusal import refused
from silkline.errors import InvalidRequest

logger = logging.getLogger("silkline.engines.torch")

_LIMITS = {"step_max_items": 20_000, "step_lexer_fuel": 200_000, "max_lexer_states": 20_000}
"""A step takes at most some 20 ms, and an answer some 40 MB."""


class Matcher:
    """The state of one constrained answer."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def mask(self, width: int) -> NDArray[np.bool_]:
        """Returns which of `width` tokens may come next; none if the answer cannot continue."""
        bits = np.frombuffer(self._inner.compute_bitmask(), np.uint8)
        return np.unpackbits(bits, count=width, bitorder="little").view(np.bool_)

    @property
    def stuck(self) -> bool:
        """Whether no token at all may come next."""
        return not any(self._inner.compute_bitmask())

    def advance(self, token: int) -> None:
        """Adds the next token, one that the mask allowed."""
        self._inner.consume_token(token)


class Matchers:
    """Makes the matchers of a model's answers."""

    def __init__(self, tokenizer: Any, end_ids: Collection[int]) -> None:
        """Reads the vocabulary, which takes about a second.

        Args:
            tokenizer: A fast tokenizer of transformers.
            end_ids: Tokens that end an answer.

        Raises:
            ImportError: llguidance is not installed.
            ValueError: It does not support the tokenizer.
        """
        from llguidance import LLMatcher, LLParserLimits  # noqa: PLC0415 - an extra
        from llguidance.hf import from_tokenizer  # noqa: PLC0415

        self._matcher = LLMatcher
        self._limits = LLParserLimits(**_LIMITS)
        self._tokenizer = from_tokenizer(tokenizer, eos_token=sorted(end_ids))
        self._compiled = CompiledConstraints(self._compile, "torch-grammar")

    async def get(self, constraint: Constraint, deadline: float) -> Matcher:
        """Returns the matcher of a new answer.

        Args:
            constraint: The answer's form.
            deadline: The request's deadline, on the event loop's clock.

        Raises:
            InvalidRequest: The constraint cannot be enforced.
            DeadlineExceeded: It was not compiled in time.
        """
        compiled = await self._compiled.get(constraint, deadline)
        return Matcher(compiled.deep_copy())

    def close(self) -> None:
        """Makes no more matchers."""
        self._compiled.close()

    def _compile(self, constraint: Constraint) -> Any:
        text = lark.write(grammar_of(constraint))
        compiled = self._matcher(
            self._tokenizer,
            self._matcher.grammar_from_lark(text),
            log_level=0,
            limits=self._limits,
        )
        if compiled.is_error():
            logger.warning("llguidance refuses a constraint: %s", compiled.get_error()[:500])
            raise refused(constraint.kind, "is too complex for this engine. Simplify it.")
        return compiled


def open_matchers(tokenizer: Any, end_ids: Collection[int]) -> Matchers | None:
    """Returns the matchers of a model; None if llguidance is missing or does not support it."""
    try:
        return Matchers(tokenizer, end_ids)
    except (ImportError, ValueError):
        logger.info("answers cannot be constrained with this model", exc_info=True)
        return None


def constrained(
    logits: torch.Tensor, penalised: torch.Tensor, matchers: Sequence[Matcher | None]
) -> torch.Tensor:
    """Returns penalised logits with minus infinity for the tokens that the constraints forbid.

    A constraint wins over `min_tokens` and `ignore_eos`: where all that it allows is forbidden, as
    after the last character of a form, the row's logits are those without penalties.

    Args:
        logits: `[N, vocabulary]`, without penalties; not changed.
        penalised: The same logits with penalties; not changed.
        matchers: The matcher of each row; None allows all tokens.
    """
    rows = [row for row, matcher in enumerate(matchers) if matcher is not None]
    if not rows:
        return penalised
    width = logits.shape[1]
    masks = np.stack([matcher.mask(width) for matcher in matchers if matcher is not None])
    forbidden = ~torch.from_numpy(masks).to(logits.device)
    kept = penalised.clone()
    allowed = penalised[rows].masked_fill(forbidden, -torch.inf)
    if penalised is not logits:
        over = allowed.amax(1, keepdim=True) == -torch.inf
        plain = logits[rows].to(allowed.dtype).masked_fill(forbidden, -torch.inf)
        allowed = torch.where(over, plain, allowed)
    kept[rows] = allowed
    return kept


def stuck(kind: ConstraintKind) -> InvalidRequest:
    """The error of an answer that cannot continue."""
    return refused(
        kind,
        "asks for a form that this model cannot continue: it has no token for the next character, "
        "or the form is too complex. Simplify it.",
    )
