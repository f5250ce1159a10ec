"""Counts the blocks of OpenVINO GenAI's KV cache, to tell which prefixes it certainly still has.

The pipeline reuses blocks without telling which. Its rules (sequence_group.cpp, block_manager.hpp):
blocks that no request uses stay in the pool; a new block is a free one, else the least recently
touched unused one; a found block counts as touched. A free block that is taken keeps the age of the
pool itself. So a block of a prompt is certainly there

- while all requests together have touched fewer blocks than the pool has, or
- if it was touched after the free blocks had run out, and since then fewer blocks than the pool has
  were touched or in use.

When requests need more blocks than there are, the pipeline takes some back from running ones, which
touch more later: then nothing is certain any more. Where this ledger errs, it counts too few.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from silkline.engines.openvino.served import BLOCK_TOKENS


@dataclass(slots=True)
class _Running:
    """A request in the pipeline.

    Attributes:
        prompt: Tokens of its prompt.
        keys: The keys of the blocks of its prompt that others may reuse once it is prefilled.
        blocks: Blocks that it has, at most.
        unknown: How many of its blocks the pipeline cannot have had.
        prefilled: Whether its prompt is in the KV cache.
        ended: Whether it has ended; its blocks are free after the next step.
    """

    prompt: int
    keys: Sequence[bytes]
    blocks: int
    unknown: int
    prefilled: bool = False
    ended: bool = False


@dataclass(frozen=True, slots=True)
class _Touch:
    """When a block was last touched.

    Attributes:
        before: Blocks of all requests that had ended by then.
        dated: Whether the pipeline knows when, too: it was found, or the free blocks had run out.
    """

    before: int
    dated: bool


class BlockLedger:
    """Follows the requests of a pipeline, all of whose prompts are prefilled in one step each."""

    def __init__(self, pool: int, step_tokens: int) -> None:
        """Creates the ledger of an empty pool.

        Args:
            pool: Number of blocks in the pool.
            step_tokens: Maximum number of prompt tokens in a step.
        """
        self._pool = pool
        self._step_tokens = step_tokens
        self._running: dict[Hashable, _Running] = {}
        self._touched: dict[bytes, _Touch] = {}
        self._ended_blocks = 0
        self._taken = 0

    def admits(self, tokens: int) -> bool:
        """Whether a prompt may join, so that the next step prefills all that are waiting whole.

        A block counts as complete for the pipeline when it is allocated. If a prompt was cut
        within a block and then cancelled, its rest would be taken for keys and values.
        """
        waiting = sum(
            each.prompt for each in self._running.values() if not each.prefilled and not each.ended
        )
        return not waiting or waiting + tokens <= self._step_tokens

    def begin(self, request: Hashable, tokens: int, keys: Sequence[bytes]) -> int:
        """Adds a request that has just joined; returns how many tokens it certainly reuses."""
        found, touched = 0, self._ended_blocks + self._in_use()
        while found < len(keys) and self._certain(keys[found], touched):
            found += 1
        self._touch(keys[:found], dated=True)
        blocks = _blocks(tokens)
        unknown = blocks - sum(key in self._touched for key in keys)
        self._running[request] = _Running(tokens, keys[found:], blocks, unknown)
        return found * BLOCK_TOKENS

    def advance(self, request: Hashable, generated: int) -> None:
        """Notes that a request has generated so many tokens, at least one."""
        running = self._running[request]
        blocks = _blocks(running.prompt + generated)
        running.unknown += blocks - running.blocks
        running.blocks = blocks
        if not running.prefilled:
            running.prefilled = True
            self._taken += running.unknown
            running.unknown = 0
            self._touch(running.keys, dated=self._taken >= self._pool)

    def end(self, request: Hashable) -> None:
        """Notes that a request has ended, or was cancelled."""
        if request in self._running:
            self._running[request].ended = True

    def stepped(self, ended: Sequence[Hashable]) -> None:
        """Notes that a step has freed the blocks of requests that had ended before it."""
        for request in ended:
            running = self._running.pop(request)
            self._ended_blocks += running.blocks
            self._taken += running.unknown if running.prefilled else 0
        if self._in_use() >= self._pool:
            self._touched.clear()
        elif self._taken >= self._pool:
            self._forget()

    def ended(self) -> list[Hashable]:
        """The requests that have ended and may still have blocks."""
        return [request for request, running in self._running.items() if running.ended]

    @property
    def known(self) -> int:
        """Number of blocks whose last touch is kept: at most the pool's twice."""
        return len(self._touched)

    def _touch(self, keys: Sequence[bytes], *, dated: bool) -> None:
        now = _Touch(self._ended_blocks, dated)
        for key in keys:
            self._touched.pop(key, None)  # so that the latest stands last
            self._touched[key] = now

    def _forget(self) -> None:
        """Drops touches too old to be certain.

        Not before the free blocks have run out: until then `unknown` needs all of them.
        """
        while self._touched:
            key, oldest = next(iter(self._touched.items()))
            if self._ended_blocks - oldest.before < self._pool - 1:
                return
            del self._touched[key]

    def _certain(self, key: bytes, touched: int) -> bool:
        touch = self._touched.get(key)
        if touch is None:
            return False
        return touched < self._pool - 1 or (touch.dated and touched - touch.before < self._pool - 1)

    def _in_use(self) -> int:
        return sum(running.blocks for running in self._running.values())


def _blocks(tokens: int) -> int:
    """Blocks of so many tokens, and of the next one."""
    return tokens // BLOCK_TOKENS + 1
