"""Base class of objects that are started and closed in one event loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Lifespan(ABC):
    """An object with `start` and `aclose`; an `async with` block calls both."""

    @abstractmethod
    async def start(self) -> None:
        """Acquires resources. Raises `EnvironmentFault` if something is missing."""

    @abstractmethod
    async def aclose(self) -> None:
        """Ends running work and releases resources. Idempotent."""

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
