"""Schedules chunked prefill: which prompt tokens the next step takes. No tensors here.

A step holds one token of every decoding request and chunks of waiting prompts, first come first
served, within a token budget. So a long prompt delays the next tokens of other requests by at most
the time of one chunk.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(slots=True)
class Progress:
    """How far the prefill of a prompt has progressed.

    Attributes:
        length: Tokens of the prompt, at least 1.
        done: Tokens whose keys and values are in the cache.
        blocks: Ranges `[start, end)` that must not be split; in order, without overlap.
    """

    length: int
    done: int = 0
    blocks: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk of a prompt.

    Attributes:
        index: The prompt's index in those passed to `plan_chunks`.
        start: Index of the chunk's first token in the prompt.
        end: Index after its last token.
    """

    index: int
    start: int
    end: int


def plan_chunks(prompts: Iterable[Progress], budget: int) -> list[Chunk]:
    """Returns the chunks of the next step, in order, at most one per prompt.

    The first prompt always gets a chunk; if a block is next, the whole block, even if it exceeds
    the budget. Only the last prompt that gets a chunk may remain unfinished.

    Args:
        prompts: All waiting prompts, oldest first, all unfinished.
        budget: Maximum number of tokens, at least 1.
    """
    chunks: list[Chunk] = []
    for index, prompt in enumerate(prompts):
        end = _cut(prompt, budget, must=not chunks)
        if end == prompt.done:
            break
        chunks.append(Chunk(index, prompt.done, end))
        budget -= end - prompt.done
        if end < prompt.length or budget <= 0:
            break
    return chunks


def _cut(prompt: Progress, budget: int, *, must: bool) -> int:
    """Returns the end of a chunk of at most `budget` tokens that splits no block.

    With `must`, the chunk is not empty: it takes a first block that exceeds the budget.
    """
    end = min(prompt.length, prompt.done + budget)
    for start, stop in prompt.blocks:
        if start < end < stop:
            return stop if must and start <= prompt.done else start
    return end
