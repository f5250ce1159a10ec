"""A LoRA adapter as a model of its own, which asks the engines of its base for its answers."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

from silkline.config import ModelSettings
from silkline.core import (
    Delta,
    EngineInfo,
    LoraAdapter,
    Message,
    Request,
    Role,
    Sampling,
    TextPart,
)
from silkline.engines.registry import engine_spec
from silkline.errors import CapacityError, ConfigError, SilklineError, WorkerLost, shutting_down
from silkline.models.home import expanded
from silkline.models.lora import lora_revision, read_lora
from silkline.routing.attempt import Attempt
from silkline.routing.health import PoolHealth
from silkline.service.budget import NO_NEED
from silkline.service.pool import Prepared
from silkline.service.served_model import ServedModel

_REVISION_LENGTH = 12

_HELLO = (Message(Role.USER, (TextPart("Hello"),)),)


def prepare_adapter(wanted: ModelSettings, base: Prepared) -> Prepared:
    """Reads an adapter's files, but no weights, and checks that the base's engine takes adapters.

    Args:
        wanted: The adapter's settings.
        base: Its base.

    Raises:
        ConfigError: The engine takes none, or the files are damaged or of an unsupported kind.
    """
    takes = engine_spec(base.choice.engine).adapters
    if takes == "names":
        return Prepared(wanted, base.choice, None, NO_NEED, LoraAdapter(wanted.adapter))
    if takes is None or base.wanted.remotes or base.wanted.on == "ray":
        engine = base.choice.engine if takes is None else "one of remotes and workers together"
        if base.wanted.on == "ray":
            engine = "on Ray"
        raise ConfigError(
            f"The adapter {wanted.served_name} cannot share the weights of {wanted.base}: its "
            f"engine is {engine}, which takes no adapters. Serve {wanted.base} with the engine "
            f"torch or vllm, or merge the adapter: silkline merge {wanted.adapter} --out MERGED."
        )
    folder = Path(os.path.abspath(expanded(wanted.adapter)))  # noqa: PTH100 - keeps links
    lora = read_lora(folder)
    if lora.whole:
        raise ConfigError(
            f"The adapter {wanted.served_name} replaces whole layers, such as "
            f"{next(iter(lora.whole))}, which it cannot share with {wanted.base}. Merge it: "
            f"silkline merge {wanted.adapter} --out MERGED."
        )
    revision = lora_revision(folder)
    adapter = LoraAdapter(f"{wanted.served_name}@{revision}", str(folder), revision, lora.rank)
    in_memory = base.need.workers if base.need.weights_bytes else 0
    need = replace(NO_NEED, weights_bytes=in_memory * lora.bytes)
    return Prepared(wanted, base.choice, None, need, adapter)


class AdapterPool:
    """The engines of a base, which answer with an adapter."""

    def __init__(self, name: str, adapter: LoraAdapter, base: ServedModel) -> None:
        """Describes an adapter of a base, which need not have started.

        Args:
            name: The adapter's name in the API.
            adapter: The adapter.
            base: Its base.
        """
        self._name, self._adapter, self._base = name, adapter, base
        self._closing = False
        self._in_flight = 0
        self._described: tuple[EngineInfo, EngineInfo] | None = None

    async def start(self) -> None:
        """Returns when the base has started, and one of its engines has answered with the adapter.

        Raises:
            ConfigError: The engine refuses the adapter.
            SilklineError: The base cannot start.
        """
        await self._base.start()
        hello = Request(f"start {self._name}", _HELLO, sampling=Sampling(max_tokens=1))
        try:
            with self._base.used():
                async with aclosing(self.generate(hello)) as deltas:
                    async for _ in deltas:
                        continue
        except (CapacityError, WorkerLost):
            raise
        except SilklineError as error:
            raise ConfigError(
                f"The base {self._base.name} does not take the adapter {self._name}: "
                f"{error.message}"
            ) from error

    @property
    def info(self) -> EngineInfo:
        """The base's, with a revision that changes with the base's and the adapter's.

        Raises:
            Overloaded: The base has not started yet.
        """
        base = self._base.engine_info
        if self._described is None or self._described[0] != base:
            content = f"{base.label} {self._adapter.name} {self._adapter.revision}"
            revision = hashlib.sha256(content.encode()).hexdigest()[:_REVISION_LENGTH]
            self._described = base, replace(base, model=self._name, revision=revision)
        return self._described[1]

    @property
    def ready(self) -> bool:
        """Whether the base would answer."""
        return not self._closing and self._base.ready

    def capacity(self) -> int:
        """Maximum requests in flight: those of the base, with which it shares them."""
        engines = self._base.engines
        return 0 if self._closing or engines is None else engines.capacity()

    def serve(self) -> None:
        """Does nothing: the base gives its own slots."""

    def health(self) -> PoolHealth:
        """A snapshot of the status: no replicas, which belong to the base."""
        return PoolHealth(
            in_flight=self._in_flight, waiting=0, retries=0, quarantines=0, replicas=()
        )

    async def generate(
        self, request: Request, attempts: list[Attempt] | None = None
    ) -> AsyncGenerator[Delta, None]:
        """Answers one request with the adapter. Raises as `EnginePool.generate` does."""
        if self._closing:
            raise shutting_down()
        self._in_flight += 1
        try:
            adapted = replace(request, adapter=self._adapter)
            async with aclosing(self._base.pool.generate(adapted, attempts)) as deltas:
                async for delta in deltas:
                    yield delta
        finally:
            self._in_flight -= 1

    async def aclose(self) -> None:
        """Refuses further requests; the base stays. Idempotent."""
        self._closing = True
