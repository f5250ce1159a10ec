"""What lives in one event loop between a start and an end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Lifespan(ABC):
    """An `async with` block starts it and closes it."""

    @abstractmethod
    async def start(self) -> None:
        """Gets ready. Raises `EnvironmentFault` where something is missing."""

    @abstractmethod
    async def aclose(self) -> None:
        """Ends what still runs. Closing twice is the same as once."""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()
