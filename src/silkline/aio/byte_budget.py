"""A bound on bytes that many hold at the same time and each takes bit by bit.

Who takes more while holding some may wait for ever on others that do the same. Therefore the
oldest claim may always go on to the most that a claim can have, and that much is kept free for it;
when it ends, the next one is the oldest. So one of them always comes to its end, as long as no
holder waits for another claim.

What hangs is held for long. So the claims of a scope, the oldest of all aside, get more only while
they have no more than three times what is left: one alone gets three quarters of the room, and
whoever comes new finds some.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from silkline.errors import Overloaded

_MAX_HELD_TO_LEFT = 3


class Claim:
    """What one holder has."""

    def __init__(self, bound: ByteBudget, scope: bytes) -> None:
        self.held = 0
        self.scope = scope
        self.keepers = 0
        self._bound = bound

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keeps what it has for one more, until the block ends, whoever lets go before."""
        self._bound.keep(self)
        try:
            yield
        finally:
            self._bound.let_go(self)

    async def grow(self, count: int) -> None:
        """Takes more; waits its turn while there is no room.

        Args:
            count: Bytes, which with those that are held must not be more than the bound's `worst`.

        Raises:
            Overloaded: Room did not come in time.
        """
        await self._bound.grow(self, count)


class ByteBudget:
    """The bound; lives in one event loop."""

    def __init__(self, capacity: int, worst: int, patience: float) -> None:
        """Nothing is held yet.

        Args:
            capacity: Most bytes of all claims; the oldest claim may go beyond if it is less than
                `worst`.
            worst: Most bytes of one claim.
            patience: Seconds to wait for room.
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
        """Claims that wait for room."""
        return len(self._waiting)

    @contextmanager
    def claim(self, scope: bytes = b"") -> Iterator[Claim]:
        """A claim of nothing yet; leaving the block gives back what it has, unless it is `kept`."""
        claim = Claim(self, scope)
        with claim.kept():
            yield claim

    def keep(self, claim: Claim) -> None:
        """See `Claim.kept`; what was given back already is taken again, room or not."""
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
                "The server holds as many pictures as it can. Try again later."
            ) from None
        finally:
            if self._waiting.pop(turn, None):
                self._wake()  # those behind it may be content with less

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
        """Lets those go on for whom there is room.

        The claims of a scope go on in turn, but the oldest of all out of turn.
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
