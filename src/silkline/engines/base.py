"""The engine contract, which every engine implements, the fake one included.

An engine turns a `Request` into a stream of `Delta`s. It lives in one event loop, is started once
and closed once, and serves many requests at a time. `tests/engines/conformance.py` checks every
engine against this contract.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from silkline.core import Delta, EngineInfo, Health, LoraAdapter, Request


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What a factory needs to build an engine.

    Attributes:
        model: The model's folder; None for engines that need none.
        max_batch: Maximum number of requests in a batch.
        kv_cache_bytes: Memory for the KV cache; 0 lets the engine choose.
        kv_cache_limit: Maximum memory of a KV cache whose size the engine chooses; 0 means only
            the machine's limit.
        threads: Compute threads; 0 lets the engine choose.
        extra: Settings of this engine alone; it refuses settings that it does not know.
        name: The model's public name, up to 100 of `A-Z a-z 0-9 . _ : / -`; if empty, the name in
            its manifest.
        revision: The model's short revision or digest; if empty, the one in its manifest.
        adapters: The adapters that are known at the start; further ones may come with requests.
    """

    model: Path | None = None
    max_batch: int = 16
    kv_cache_bytes: int = 0
    kv_cache_limit: int = 0
    threads: int = 0
    extra: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    revision: str = ""
    adapters: tuple[LoraAdapter, ...] = ()


class Engine(ABC):
    """Computes answers."""

    @property
    @abstractmethod
    def info(self) -> EngineInfo:
        """Describes the engine and its model; available once the engine has started."""

    @abstractmethod
    async def start(self) -> None:
        """Loads the model. Raises `EnvironmentFault` if something it needs is missing."""

    @abstractmethod
    def generate(self, request: Request) -> AsyncGenerator[Delta, None]:
        """Streams the answer to one request.

        Closing the stream, or cancelling the task that reads it, frees the request's resources
        before the next step. An invalid request raises an `InputError`, a request that exceeds its
        `timeout_seconds` raises `DeadlineExceeded`; neither affects other requests.
        """

    @abstractmethod
    def health(self) -> Health:
        """Returns the engine's current status without waiting."""

    async def failed(self) -> None:
        """Waits until the engine has failed for good; never returns if it cannot fail.

        Running requests have then ended with `WorkerLost`, and so do later ones: only a new
        process can serve again.
        """
        await asyncio.Event().wait()

    @abstractmethod
    async def aclose(self) -> None:
        """Ends running requests and frees the model. Idempotent."""


EngineFactory = Callable[[EngineOptions], Engine]
"""The type of an entry point in the group `silkline.engines`. Import heavy libraries inside it."""
