"""The engine contract: what every engine must be, the fake one included.

An engine turns a `Request` into a stream of `Delta`s. It lives in one event loop, is started once
and closed once, and serves many requests at a time. `tests/engines/conformance.py` holds every
engine to the promises made here.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from silkline.core import Delta, EngineInfo, Health, Request


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What a factory needs to build an engine.

    Attributes:
        model: The model's folder; None for engines that need none.
        max_batch: Most requests computed together.
        kv_cache_bytes: Memory for the KV cache; 0 lets the engine choose.
        threads: Threads that compute; 0 lets the engine choose.
        extra: Settings that only one engine knows; it refuses those it does not.
        name: The model's public name: up to 100 of `A-Z a-z 0-9 . _ : / -`; empty takes the one
            of its manifest.
        revision: Its short revision or digest, likewise.
    """

    model: Path | None = None
    max_batch: int = 16
    kv_cache_bytes: int = 0
    threads: int = 0
    extra: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    revision: str = ""


class Engine(ABC):
    """Computes answers."""

    @property
    @abstractmethod
    def info(self) -> EngineInfo:
        """What this engine is; known once it has started."""

    @abstractmethod
    async def start(self) -> None:
        """Loads the model. Raises `EnvironmentFault` where something is missing."""

    @abstractmethod
    def generate(self, request: Request) -> AsyncGenerator[Delta, None]:
        """Answers one request.

        Closing the stream, or cancelling the task that reads it, frees what the request held
        before the next step. A request that is wrong raises an `InputError`, one whose
        `timeout_seconds` are over `DeadlineExceeded`; neither harms any other request.
        """

    @abstractmethod
    def health(self) -> Health:
        """How the engine gets on; never waits."""

    async def failed(self) -> None:
        """Returns when the engine can compute no more; waits for ever for one that always can.

        Its requests end with `WorkerLost` before, as do those that come later: to be of use again,
        it needs a new process.
        """
        await asyncio.Event().wait()

    @abstractmethod
    async def aclose(self) -> None:
        """Ends what still runs and frees the model. Closing twice is the same as once."""


EngineFactory = Callable[[EngineOptions], Engine]
"""What an entry point of the group `silkline.engines` names. Heavy imports belong inside it."""
