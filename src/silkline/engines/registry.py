"""Engines by name: the entry points of the group `silkline.engines`, built-in ones included."""

from __future__ import annotations

import difflib
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path

from silkline.engines.base import Engine, EngineOptions
from silkline.errors import ConfigError, EnvironmentFault

ENGINE_GROUP = "silkline.engines"


def engine_names() -> tuple[str, ...]:
    """The names of all installed engines, sorted; nothing is imported to find them."""
    return tuple(sorted(entry_points(group=ENGINE_GROUP).names))


def create_engine(name: str, options: EngineOptions) -> Engine:
    """Builds an engine that has not started yet.

    Raises:
        ConfigError: No engine has this name (the nearest is named), or it refuses an option.
        EnvironmentFault: A library that the engine needs is not installed.
    """
    found = entry_points(group=ENGINE_GROUP, name=name)
    if not found:
        near = difflib.get_close_matches(name, engine_names(), n=1, cutoff=0.4)
        hint = f"Did you mean {near[0]}?" if near else f"Known are: {', '.join(engine_names())}."
        raise ConfigError(f"There is no engine {name!r}. {hint}")
    entry = next(iter(found))
    try:
        engine: Engine = entry.load()(options)
    except ModuleNotFoundError as error:
        raise EnvironmentFault(
            f"The engine {name!r} needs the library {error.name!r}, which is not installed.",
            remedy=f'pip install "{_distribution(entry)}[{name}]"',
        ) from error
    return engine


_NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
"""Is there where the kernel has NVIDIA's driver."""

_PREFERRED = (
    ("vllm", "vllm", True),
    ("torch", "torch", True),
    ("openvino", "openvino_genai", False),
    ("torch", "torch", False),
)
"""Engines, the best first: the name, the library that it needs, whether it also needs CUDA."""


def pick_engine() -> str:
    """The engine that `auto` stands for on this machine; nothing heavy is imported to know it.

    Raises:
        EnvironmentFault: No engine that computes is installed.
    """
    cuda = _NVIDIA_DRIVER.is_file()
    for engine, library, needs_cuda in _PREFERRED:
        if (cuda or not needs_cuda) and find_spec(library) is not None:
            return engine
    raise EnvironmentFault(
        "No engine is installed on this machine.", remedy='pip install "silkline[openvino]"'
    )


def _distribution(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else "silkline"
