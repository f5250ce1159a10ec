"""Which prompt tokens the next step takes; no tensors here.

A step holds one token of every request that generates, and pieces of the prompts that wait, first
come first served, within a budget of tokens. So a long prompt does not keep the others from their
next token for longer than one piece of it takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(slots=True)
class Progress:
    """How far a prompt has come.

    Attributes:
        length: Its tokens, at least 1.
        done: Those whose keys and values are in the cache.
        blocks: Ranges `[start, end)` that must be taken whole; in order, without overlap.
    """

    length: int
    done: int = 0
    blocks: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a prompt.

    Attributes:
        place: Whose, as an index into what was given.
        start: Its first token.
        end: One past its last.
    """

    place: int
    start: int
    end: int


def plan_chunks(prompts: Sequence[Progress], budget: int) -> list[Chunk]:
    """The pieces of the next step, in order, at most one a prompt.

    The first prompt always comes on, by a whole block if that is what comes next, even if the
    budget is smaller. Only the last prompt that has a piece may be left unfinished by it.

    Args:
        prompts: All that wait, oldest first, none of them finished.
        budget: Most tokens, at least 1.
    """
    chunks: list[Chunk] = []
    for place, prompt in enumerate(prompts):
        end = _cut(prompt, budget, must=not chunks)
        if end == prompt.done:
            break
        chunks.append(Chunk(place, prompt.done, end))
        budget -= end - prompt.done
        if end < prompt.length or budget <= 0:
            break
    return chunks


def _cut(prompt: Progress, budget: int, *, must: bool) -> int:
    """Where a piece of at most `budget` tokens ends; no block is cut in two."""
    end = min(prompt.length, prompt.done + budget)
    for start, stop in prompt.blocks:
        if start < end < stop:
            return stop if must and start <= prompt.done else start
    return end
