"""What the answers to one question share: their admission, and their images."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager

from silkline.admission.ticket import TicketGroup
from silkline.aio.byte_budget import Claim
from silkline.ingress.taking import TakenImages


class Group:
    """The answers to one question, which are computed at the same time.

    Attributes:
        tickets: Their tickets.
    """

    def __init__(self, answers: int = 1) -> None:
        self.tickets = TicketGroup(answers)
        self._loading = asyncio.Lock()
        self._loaded: tuple[TakenImages, Claim] | None = None

    @asynccontextmanager
    async def images(
        self,
        holding: Callable[[], AbstractContextManager[Claim]],
        take: Callable[[Claim], Awaitable[TakenImages]],
    ) -> AsyncGenerator[tuple[TakenImages, Claim], None]:
        """Loads the images once for all answers, and holds their memory during the block.

        Args:
            holding: Opens the claim on their memory.
            take: Loads the images into the claim.

        Raises:
            SilklineError: The errors of `take`.
        """
        with ExitStack() as stack:
            async with self._loading:
                if self._loaded is None:
                    held = stack.enter_context(holding())
                    self._loaded = await take(held), held
                else:
                    stack.enter_context(self._loaded[1])
            yield self._loaded
