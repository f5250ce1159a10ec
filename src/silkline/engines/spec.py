"""What an engine tells about itself: an `EngineSpec` under the entry point `silkline.engines`.

Built-in engines and those of other packages register in the same way (docs/engines.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from silkline.engines.base import EngineFactory, EngineOptions
from silkline.models.resolve import ModelLocation
from silkline.models.store import Store
from silkline.models.support import ModelFacts, Support

if TYPE_CHECKING:
    from silkline.config import EngineSettings  # workers start without pydantic

START_SECONDS = 120.0
"""How long a worker may take to start, for engines that say nothing else."""


@dataclass(frozen=True, slots=True)
class Export:
    """A model in an engine's own form, made once and kept in the store.

    Attributes:
        key: Its name in the store, the same for the same model and settings.
        make: Makes it, unless the store has it; reports its progress in words; gives its folder.
    """

    key: str
    make: Callable[[Store, Callable[[str], None]], Path]


def _start_seconds(_: EngineOptions) -> float:
    return START_SECONDS


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """What Silkline knows about an engine before it loads any of its libraries.

    Attributes:
        name: The entry point's name, as `--engine` takes it.
        create: Builds the engine. Heavy imports belong inside it.
        install: The command that installs what it needs.
        libraries: Modules that must be found for it to start.
        rank: Its place in the order in which `auto` tries engines on a machine without a GPU, 1
            first; None where `auto` never takes it there.
        gpu_rank: The same on a machine with an NVIDIA GPU.
        needs_model: Whether it computes with a model on this machine.
        support: Says whether it can serve a model, and why not; None where it cannot tell.
        export: Plans the form in which it needs a model, from the model's location, the settings
            and the digest of the model's files; gives None for a model that it serves as it is.
        start_seconds: How long a worker with these options may take to start, in seconds. Raises
            `ConfigError` where an option is wrong.
        adapters: How it takes the adapters of requests: from their folders, or by the names that
            its server knows; None if it takes none.
    """

    name: str
    create: EngineFactory
    install: str = ""
    libraries: tuple[str, ...] = ()
    rank: int | None = None
    gpu_rank: int | None = None
    needs_model: bool = True
    support: Callable[[ModelFacts], Support] | None = None
    export: Callable[[ModelLocation, EngineSettings, str], Export | None] | None = None
    start_seconds: Callable[[EngineOptions], float] = _start_seconds
    adapters: Literal["folders", "names"] | None = None
