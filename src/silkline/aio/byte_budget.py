"""A shared budget of bytes, for claims that grow step by step.

Claims that grow while they hold bytes could deadlock, each waiting for the others. So the oldest
claim can always grow to the maximum of a claim: that much is reserved for it. When it ends, the
next one becomes the oldest. Thus one claim can always finish, as long as no holder waits for
another claim.

A slow holder keeps its bytes for long. So the claims of a scope, except the oldest of all, grow
only while they hold at most three times what is left: a single scope gets three quarters of the
budget, and a new one always finds some room.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Self

from silkline.errors import Overloaded

_MAX_HELD_TO_LEFT = 3


class Claim:
    """The bytes that one holder has claimed; released at the end of the last block that keeps them.

    A block that begins when they were released claims them again, even if there is no room.
    """

    def __init__(self, bound: ByteBudget, scope: bytes) -> None:
        self.held = 0
        self.scope = scope
        self.keepers = 0
        self._bound = bound

    def __enter__(self) -> Self:
        self._bound.keep(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._bound.let_go(self)

    async def grow(self, count: int) -> None:
        """Claims more bytes; waits in turn until there is room.

        Args:
            count: Bytes; together with those held, at most the budget's `worst`.

        Raises:
            Overloaded: There was no room within the budget's `patience`.
        """
        await self._bound.grow(self, count)


class ByteBudget:
    """A budget of bytes that is shared by claims; used from one event loop."""

    def __init__(self, capacity: int, worst: int, patience: float) -> None:
        """Creates a budget without claims.

        Args:
            capacity: Maximum bytes of all claims; if it is less than `worst`, the oldest claim may
                exceed it.
            worst: Maximum bytes of one claim.
            patience: Maximum seconds to wait for room.
        """
        self._capacity = capacity
        self._worst = worst
        self._patience = patience
        self._used = 0
        self._held: Counter[bytes] = Counter()
        self._claims: dict[Claim, None] = {}  # oldest first
        self._waiting: dict[asyncio.Future[None], tuple[Claim, int]] = {}  # oldest first

    @property
    def used(self) -> int:
        """Bytes that are held."""
        return self._used

    @property
    def waiting(self) -> int:
        """Number of claims that wait for room."""
        return len(self._waiting)

    def claim(self, scope: bytes = b"") -> Claim:
        """An empty claim, which is open during the blocks that it is the context of."""
        return Claim(self, scope)

    def keep(self, claim: Claim) -> None:
        """The beginning of a block that keeps the claim's bytes."""
        if not claim.keepers:
            self._claims[claim] = None
            self._count(claim, claim.held)
        claim.keepers += 1

    def let_go(self, claim: Claim) -> None:
        """The end of `keep`."""
        claim.keepers -= 1
        if not claim.keepers:
            del self._claims[claim]
            self._count(claim, -claim.held)
            self._wake()

    async def grow(self, claim: Claim, count: int) -> None:
        """See `Claim.grow`."""
        waits = any(other.scope == claim.scope for other, _ in self._waiting.values())
        if (not waits or self._is_oldest(claim)) and self._has_room(claim, count):
            self._give(claim, count)
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting[turn] = (claim, count)
        try:
            async with asyncio.timeout(self._patience):
                await turn
        except TimeoutError:
            raise Overloaded(
                "The server has no memory left for this request at the moment. Try again later."
            ) from None
        finally:
            if self._waiting.pop(turn, None):
                self._wake()  # claims behind it may need less room

    def _is_oldest(self, claim: Claim) -> bool:
        return claim is next(iter(self._claims))

    def _has_room(self, claim: Claim, count: int) -> bool:
        oldest = next(iter(self._claims))
        if claim is oldest:
            return True
        left = self._capacity - self._used - (self._worst - oldest.held)
        held = self._held[claim.scope] - (oldest.held if oldest.scope == claim.scope else 0)
        return count <= left and held + count <= _MAX_HELD_TO_LEFT * left

    def _give(self, claim: Claim, count: int) -> None:
        claim.held += count
        self._count(claim, count)

    def _count(self, claim: Claim, count: int) -> None:
        self._used += count
        self._held[claim.scope] += count
        if not self._held[claim.scope]:
            del self._held[claim.scope]

    def _wake(self) -> None:
        """Resumes the waiting claims for which there is room.

        Claims of a scope resume in order, except the oldest of all, which need not wait its turn.
        """
        blocked: set[bytes] = set()
        for turn, (claim, count) in tuple(self._waiting.items()):
            first = claim.scope not in blocked or self._is_oldest(claim)
            if first and self._has_room(claim, count):
                del self._waiting[turn]
                if not turn.done():
                    self._give(claim, count)
                    turn.set_result(None)
            else:
                blocked.add(claim.scope)
